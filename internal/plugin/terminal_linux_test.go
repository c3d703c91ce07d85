package plugin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oauth-operator/oauth-operator/internal/plugin"
)

// tty is a terminal with the program in it.
type tty struct {
	*feed
	t       *testing.T
	master  *os.File
	slave   *os.File
	command *exec.Cmd
}

// opensTerminal runs the program in a terminal of that size, as a shell does.
func (p *place) opensTerminal(columns, rows uint16, arguments ...string) *tty {
	p.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = slave.Close() })
	command := exec.CommandContext(p.t.Context(), filepath.Join(folder(p.t), "kubectl-oauth"), append(arguments, "-n", p.namespace)...)
	command.Env = []string{"KUBECONFIG=" + p.kubeconfig, "TERM=xterm", "HOME=" + p.t.TempDir(), "PATH=" + os.Getenv("PATH")}
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := command.Start(); err != nil {
		p.t.Fatal(err)
	}
	shown := &tty{feed: newFeed(p.t), t: p.t, master: master, slave: slave, command: command}
	go func() {
		piece := make([]byte, 4096)
		for {
			n, err := master.Read(piece)
			_, _ = shown.Write(piece[:n])
			if err != nil {
				return
			}
		}
	}()
	return shown
}

// types presses keys.
func (y *tty) types(keys string) {
	y.t.Helper()
	if _, err := y.master.WriteString(keys); err != nil {
		y.t.Fatal(err)
	}
}

// echoes: the terminal shows what is typed.
func (y *tty) echoes() bool {
	y.t.Helper()
	state, err := unix.IoctlGetTermios(int(y.slave.Fd()), unix.TCGETS)
	if err != nil {
		y.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// exits waits for the program's end.
func (y *tty) exits(code int) {
	y.t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = y.command.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = y.command.Process.Kill()
		y.t.Fatalf("it does not end:\n%s", y.all())
	}
	if got := y.command.ProcessState.ExitCode(); got != code {
		y.t.Errorf("exit code %d, want %d:\n%s", got, code, y.all())
	}
}

const interrupt = "\x03"

// A table in a real terminal fits into it, follows it when it is made smaller, and ends with Ctrl-C.
func TestWatchInARealTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.account("acme")
	shown := p.opensTerminal(100, 24, "status", "--watch")
	shown.until("\x1b[H\x1b[J")
	shown.until("ROTATIONS")
	shown.until("\x1b[32mTokenValid\x1b[0m")
	if err := unix.IoctlSetWinsize(int(shown.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 40, Row: 24}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); strings.Contains(screen(&run{out: shown.feed}, "TokenValid"), "ROTATIONS"); {
		if time.Now().After(end) {
			t.Fatal("the table does not follow the terminal")
		}
	}
	shown.types(interrupt)
	shown.exits(plugin.ExitInterrupted)
}

// Whoever thinks better of it at a question presses Ctrl-C, and has their terminal as it was.
func TestQuestionsInARealTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.client()
	p.account("acme", asksFor("https://provider.example:443"))
	asked := p.opensTerminal(80, 24, "adopt", "acme")
	asked.until("Type yes to go on: ")
	asked.types(interrupt)
	asked.exits(plugin.ExitInterrupted)

	hidden := p.opensTerminal(80, 24, "import", "acme")
	hidden.until("(not shown): ")
	for end := time.Now().Add(patience); hidden.echoes(); time.Sleep(time.Millisecond) { // nothing else tells that it reads
		if time.Now().After(end) {
			t.Fatal("what is typed would show")
		}
	}
	hidden.types("planted-token" + interrupt)
	hidden.exits(plugin.ExitInterrupted)
	if !hidden.echoes() || strings.Contains(hidden.all(), "planted-token") {
		t.Errorf("the terminal is not as it was, or shows the token:\n%s", hidden.all())
	}
}
