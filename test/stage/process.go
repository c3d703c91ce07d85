package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// stopTimeout bounds a polite end. It is above the operator's terminationGracePeriodSeconds.
const stopTimeout = 125 * time.Second

// suspendTimeout bounds the time that threads take to stand still.
const suspendTimeout = 10 * time.Second

// Program says what to run.
type Program struct {
	// Name is for messages and for the log, <name>.log in the folder of the run. A name that was used already gets a number.
	Name string
	Path string
	Args []string
	// Env is the whole environment, as NAME=value: nothing of this process's own is handed on.
	Env []string
}

// Process is a program that runs, or ran. Its methods are safe for concurrent use.
type Process struct {
	Name string
	// LogFile holds what it writes to standard output and standard error.
	LogFile string

	command *exec.Cmd
	done    chan struct{}
	err     error // how it ended, once done is closed
}

// Run starts a program. It ends with Stop or Kill, with the stage, or with this process, however that ends.
func (s *Stage) Run(ctx context.Context, program Program) (*Process, error) {
	name := s.unique(program.Name)
	process := &Process{Name: name, LogFile: filepath.Join(s.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(process.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close() //nolint:errcheck // the process has a copy of its own
	command := exec.CommandContext(context.WithoutCancel(ctx), program.Path, program.Args...)
	command.Env = append([]string{}, program.Env...) // never nil, which would mean this process's own
	command.Stdout, command.Stderr = log, log
	// Ctrl-C goes to the whole process group of the terminal; what is started here is ended in order instead.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	process.command = command
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	release, err := s.Cluster.Guard("stage-"+name, command.Process.Pid)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), command.Process.Kill(), command.Wait())
	}
	go func() {
		process.err = command.Wait()
		release()
		close(process.done)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, process)
	return process, nil
}

func (s *Stage) unique(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name]++
	if count := s.names[name]; count > 1 {
		return fmt.Sprintf("%s-%d", name, count)
	}
	return name
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal. One that comes too late is no error.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Suspend sends SIGSTOP, and waits until the last thread stands still: until then, the process goes on working.
func (p *Process) Suspend(ctx context.Context) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := wait.PollUntilContextTimeout(ctx, time.Millisecond, suspendTimeout, true, func(context.Context) (bool, error) {
		return p.Ended() || stopped(p.command.Process.Pid), nil
	}); err != nil {
		return fmt.Errorf("%s does not stand still: %w", p.Name, err)
	}
	return nil
}

// stopped reports whether each thread of a process is in the state T (man 5 proc_pid_stat).
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		// The name of the program, in parentheses, may have any character in it.
		_, state, _ := strings.Cut(string(text[max(0, bytes.LastIndexByte(text, ')')):]), " ")
		if err != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// Wait waits for the end and returns the exit code: -1 if a signal ended the process. An error means that it has not
// ended in time.
func (p *Process) Wait(timeout time.Duration) (int, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.command.ProcessState.ExitCode(), nil
	case <-timer.C:
		return 0, fmt.Errorf("%s has not ended within %s", p.Name, timeout)
	}
}

// Stop sends SIGTERM and waits for the end. An exit code other than 0 is an error, as is an end that came before.
func (p *Process) Stop() error {
	if p.Ended() {
		return p.failed("ended before it was stopped")
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	code, err := p.Wait(stopTimeout)
	if err != nil {
		return errors.Join(err, p.Kill())
	}
	if code != 0 {
		return p.failed("did not end well")
	}
	return nil
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := p.Wait(stopTimeout)
	return err
}

// failed makes an error of an end, with the end of the log. It is for processes that have ended.
func (p *Process) failed(what string) error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s %s (%s)\n%s", p.Name, what, how, p.LastLines())
}

// LastLines is the end of the log, for an error message.
func (p *Process) LastLines() string {
	const count = 5
	content, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Sprintf("the end of %s:\n%s", p.LogFile, strings.Join(lines[max(0, len(lines)-count):], "\n"))
}

// await waits until the process is ready, as the function finds out. An end of the process is an error.
func (p *Process) await(ctx context.Context, ready func(context.Context) bool) error {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if p.Ended() {
			return false, errors.New("it ended")
		}
		return ready(ctx), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w\n%s", p.Name, err, p.LastLines())
	}
	return nil
}
