package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// watchdogScript waits for its standard input to end. If that happens without the word "stopped", the process at the other
// end has died, by a signal perhaps, and could not clean up: then the processes of the cluster are killed.
//
// Its arguments are the folder of the cluster and whether to remove it.
const watchdogScript = `
trap '' INT TERM HUP
read -r word
[ "$word" = stopped ] && exit 0
for file in "$1"/*.pid; do
  [ -e "$file" ] && kill -s KILL -- "-$(cat "$file")"
done
[ "$2" = remove ] && rm -rf "$1"
exit 0
`

// wrapperScript runs a program in its place, with its output in a log file, and leaves the process id for the watchdog. A
// process started this way has been made the leader of its own process group, so the id names the group. The flag --help
// is a question about the program and not its start.
const wrapperScript = `#!/bin/sh
[ "$1" = --help ] && exec %[1]s "$@"
echo $$ >%[2]s.pid
exec %[1]s "$@" >>%[2]s.log 2>&1
`

// watchdog is a process which outlives this one for as long as it takes to kill the rest.
type watchdog struct {
	folder  string
	command *exec.Cmd
	input   io.WriteCloser
}

// startWatchdog starts the watchdog for the cluster in a folder. It is detached from the context: it has to be there until
// the end.
func startWatchdog(ctx context.Context, folder string, remove bool) (*watchdog, error) {
	action := "keep"
	if remove {
		action = "remove"
	}
	command := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchdogScript, "watchdog", folder, action)
	// Ctrl-C goes to the whole process group of the terminal.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	return &watchdog{folder: folder, command: command, input: input}, nil
}

// wrap returns the path of a script that runs the program under the watchdog's eyes.
func (w *watchdog) wrap(program string) (string, error) {
	folder := filepath.Join(w.folder, "run")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	name := filepath.Base(program)
	script := fmt.Sprintf(wrapperScript, quote(program), quote(filepath.Join(w.folder, name)))
	path := filepath.Join(folder, name)
	return path, os.WriteFile(path, []byte(script), 0o700) //nolint:gosec // G306: it has to be executable
}

// Guard puts another process under the watchdog's eyes, by its id, which must also be that of its process group: if this
// process dies, that group is killed with the control plane. The function that comes back ends this; it must be called
// when the process has ended, since its id may then become another's.
func (c *Cluster) Guard(name string, id int) (release func(), err error) {
	path := filepath.Join(c.Dir, name+".pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(id)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("guard the process %s: %w", name, err)
	}
	return func() { _ = os.Remove(path) }, nil
}

// stop lets the watchdog go. Unless all is stopped already, it first kills what is left.
func (w *watchdog) stop(stopped bool) error {
	var errs []error
	if stopped {
		_, err := io.WriteString(w.input, "stopped\n")
		errs = append(errs, err)
	}
	errs = append(errs, w.input.Close(), w.command.Wait())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop the watchdog: %w", err)
	}
	return nil
}

// quote makes a path one word of a shell script.
func quote(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// lastLines returns the end of the logs of the named programs, for an error message.
func (c *Cluster) lastLines(programs ...string) string {
	const count = 15
	var text strings.Builder
	for _, program := range programs {
		content, err := os.ReadFile(filepath.Join(c.Dir, program+".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		fmt.Fprintf(&text, "the end of the log of %s:\n%s\n", program, strings.Join(lines[max(0, len(lines)-count):], "\n"))
	}
	return strings.TrimSpace(text.String())
}

// childProcess is a process that this package starts itself, under the watchdog's eyes.
type childProcess struct {
	name    string
	command *exec.Cmd
	done    chan struct{}
	err     error // how it ended, once done is closed
}

func (w *watchdog) start(ctx context.Context, program string, arguments ...string) (*childProcess, error) {
	path, err := w.wrap(program)
	if err != nil {
		return nil, err
	}
	child := &childProcess{name: filepath.Base(program), done: make(chan struct{})}
	child.command = exec.CommandContext(context.WithoutCancel(ctx), path, arguments...)
	child.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", child.name, err)
	}
	go func() {
		child.err = child.command.Wait()
		close(child.done)
	}()
	return child, nil
}

// stop ends the process politely, and after a while otherwise.
func (p *childProcess) stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended before it was stopped: %w", p.name, cmp.Or(p.err, errors.New("exit status 0")))
	default:
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		err := p.command.Process.Kill()
		<-p.done
		return errors.Join(fmt.Errorf("%s did not end within %s", p.name, stopTimeout), err)
	}
}
