// Package consumers runs the examples of this folder, which docs/consuming.md shows, on a folder that is written as a kubelet
// writes the volume of a Secret. It must never reach anything but loopback.
package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/volume"
)

// bound is how long anything is waited for. It takes milliseconds, and more on a busy machine.
const bound = time.Minute

// version is what the Secret holds after its n-th change: tokens of different length, and long enough to be read in pieces.
func version(n int) map[string][]byte {
	token := fmt.Sprintf("%06d.", n) + strings.Repeat(string(rune('a'+n%26)), 100+(n*997)%7000)
	return map[string][]byte{
		"access_token":  []byte(token),
		"authorization": []byte("Bearer " + token),
		"headers":       []byte(fmt.Sprintf("Authorization: Bearer %s\non-behalf-of: acct_%d\n", token, n)),
		"env":           []byte("OAUTH_TOKEN='" + token + "'\n"),
		"nginx.conf":    []byte("geo $oauth_authorization {\n    default \"Bearer " + shortened(token) + "\";\n}\n"),
	}
}

// shortened is a token that fits into one word of nginx's configuration.
func shortened(token string) string { return token[:min(len(token), 4000)] }

func write(t *testing.T, folder string, n int) {
	t.Helper()
	if err := volume.Write(folder, version(n)); err != nil {
		t.Fatal(err)
	}
}

// api is the API of a provider: it notes what it is called with.
type api struct {
	*httptest.Server
	calls chan http.Header
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{calls: make(chan http.Header)}
	ctx := t.Context()
	a.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		select {
		case a.calls <- request.Header:
		case <-request.Context().Done():
		case <-ctx.Done():
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// next waits for a call, and returns it. A program that has ended cannot make one.
func (a *api) next(t *testing.T, p *program) http.Header {
	t.Helper()
	select {
	case header := <-a.calls:
		return header
	case <-p.ended:
		t.Fatalf("the program has ended: %v\n%s", p.err, p.output.String())
	case <-time.After(bound):
		t.Fatalf("no call came\n%s", p.output.String())
	}
	return nil
}

// program is a process of an example.
type program struct {
	*exec.Cmd
	output buffer
	ended  chan struct{}
	err    error
}

// buffer is written by one process and read while that runs.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// start starts a program in a process group of its own, which ends with the test.
func start(t *testing.T, environment []string, name string, arguments ...string) *program {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s on this machine", name)
	}
	p := &program{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, arguments...), ended: make(chan struct{})}
	p.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environment...)
	p.Stdout, p.Stderr = &p.output, &p.output
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL) // it may have ended
		<-p.ended
	})
	return p
}

// caller starts one of the programs that call an API all the time.
type caller func(t *testing.T, url, folder string) *program

func callers() map[string]caller {
	return map[string]caller{
		"Go": func(t *testing.T, url, folder string) *program {
			t.Helper()
			built := filepath.Join(t.TempDir(), "caller")
			if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", built, "./go").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			return start(t, nil, built, url, folder, "0s")
		},
		"Python": func(t *testing.T, url, folder string) *program {
			t.Helper()
			return start(t, nil, "python3", "python/caller.py", url, folder, "0")
		},
		"Node": func(t *testing.T, url, folder string) *program {
			t.Helper()
			return start(t, nil, "node", "node/caller.mjs", url, folder, "0")
		},
		"curl": func(t *testing.T, url, folder string) *program {
			t.Helper()
			if _, err := exec.LookPath("curl"); err != nil {
				t.Skip("there is no curl on this machine")
			}
			return start(t, nil, "sh", "shell/caller.sh", url, folder, "0")
		},
	}
}

// A program that reads its file for each call takes up every token without a restart, and none of them by half: the volume is
// swapped under each of its calls.
func TestAProgramFollowsTheMountedToken(t *testing.T) {
	t.Parallel()
	const swaps = 150
	for name, start := range callers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, folder := newAPI(t), t.TempDir()
			write(t, folder, 0)
			p := start(t, a.URL, folder)
			newest := -1
			for n := range swaps {
				got := versionOf(t, a.next(t, p))
				if got < newest {
					t.Fatalf("version %d comes after version %d", got, newest)
				}
				newest = got
				// The program is on its way to its next read while this is written.
				write(t, folder, n+1)
			}
			for newest < swaps { // one call may be on its way with the version before
				newest = versionOf(t, a.next(t, p))
			}
			if said := p.output.String(); said != "" {
				t.Errorf("the program complains:\n%s", said)
			}
		})
	}
}

// versionOf is the version that a call was made with, which has to be whole.
func versionOf(t *testing.T, header http.Header) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(header.Get("Authorization"), "Bearer %06d.", &n); err != nil {
		t.Fatalf("the header is %q", header.Get("Authorization"))
	}
	want := string(version(n)["authorization"])
	if got := header.Get("Authorization"); got != want {
		t.Fatalf("the header is %q, want %q", got, want)
	}
	if got, want := header.Get("on-behalf-of"), fmt.Sprintf("acct_%d", n); got != want {
		t.Fatalf("on-behalf-of is %q beside the token %d", got, n)
	}
	return n
}

// A redirect to another host is followed without the token, or not at all.
func TestAProgramSendsTheTokenToItsAPIAlone(t *testing.T) {
	t.Parallel()
	for name, start := range callers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other, folder := newAPI(t), t.TempDir()
			write(t, folder, 1)
			calls := make(chan http.Header)
			first := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
				response.Header().Set("Location", strings.Replace(other.URL, "127.0.0.1", "localhost", 1))
				response.WriteHeader(http.StatusTemporaryRedirect)
				select {
				case calls <- request.Header:
				case <-t.Context().Done():
				}
			}))
			t.Cleanup(first.Close)
			p := start(t, first.URL, folder)
			for seen := 0; seen < 2; { // the second call says that the first one is over, redirect and all
				select {
				case header := <-calls:
					versionOf(t, header)
					seen++
				case header := <-other.calls:
					if header.Get("Authorization") != "" || header.Get("on-behalf-of") != "" {
						t.Fatal("the other host was sent the token")
					}
				case <-p.ended:
					t.Fatalf("the program has ended: %v\n%s", p.err, p.output.String())
				case <-time.After(bound):
					t.Fatalf("no call came\n%s", p.output.String())
				}
			}
		})
	}
}

// A program that reads its environment alone is started anew with each token, and is told to end before.
func TestAProgramIsStartedAnewWithItsToken(t *testing.T) {
	t.Parallel()
	a, folder := newAPI(t), t.TempDir()
	write(t, folder, 0)
	const does = `trap 'curl --silent --header "Ended: $OAUTH_TOKEN" "$0"; exit' TERM
printf 'Authorization: Bearer %s' "$OAUTH_TOKEN" | curl --silent --header @- "$0"
while :; do sleep 0.05; done`
	p := start(t, []string{"INTERVAL=0.05"}, "sh", "shell/with-token.sh", folder, "sh", "-c", does, a.URL)
	const changes = 5
	for n := range changes {
		token := string(version(n)["access_token"])
		if got := a.next(t, p).Get("Authorization"); got != "Bearer "+token {
			t.Fatalf("the program was started with %q, want %q", got, token)
		}
		if n == changes-1 {
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, folder, n+1)
		}
		if got := a.next(t, p).Get("Ended"); got != token {
			t.Fatalf("the program has not ended before the next one, but made a call with %q", got)
		}
	}
	select {
	case <-p.ended:
	case <-time.After(bound):
		t.Fatal("SIGTERM does not end it")
	}
	if code := p.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d after SIGTERM, want 143", code)
	}
}

// When the program ends by itself, so does what started it, with the same exit code: it is for Kubernetes to start both anew.
func TestAProgramThatEndsIsNotStartedAnew(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, folder, 0)
	p := start(t, []string{"INTERVAL=0.05"}, "sh", "shell/with-token.sh", folder, "sh", "-c", "exit 7")
	select {
	case <-p.ended:
	case <-time.After(bound):
		t.Fatal("it goes on without its program")
	}
	if code := p.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want the program's, 7\n%s", code, p.output.String())
	}
}

// What a change is told to is told once for each, and once more where it fails.
func TestACommandIsRunOnChange(t *testing.T) {
	t.Parallel()
	a, folder := newAPI(t), t.TempDir()
	write(t, folder, 0)
	failed := filepath.Join(t.TempDir(), "failed")
	const does = `curl --silent --fail --header "link: $(readlink "$1/..data")" "$0"; [ -e "$2" ] || { : >"$2"; exit 1; }`
	p := start(t, []string{"INTERVAL=0.05"}, "sh", "shell/on-change.sh", folder, "sh", "-c", does, a.URL, folder, failed)
	told := []string{firstTold(t, a, p, folder)}
	if again := a.next(t, p).Get("link"); again != told[0] {
		t.Errorf("told of %s, and of %s after that had failed", told[0], again)
	}
	for n := range 2 {
		write(t, folder, n)
		told = append(told, a.next(t, p).Get("link"))
	}
	if told[0] == told[1] || told[1] == told[2] {
		t.Errorf("told twice of one change: %v", told)
	}
}

// firstTold changes the volume until the script tells of it: what happens before its first look is none of its business.
func firstTold(t *testing.T, a *api, p *program, folder string) string {
	t.Helper()
	again := time.NewTicker(bound / 60)
	defer again.Stop()
	for n := range 60 {
		write(t, folder, n)
		select {
		case header := <-a.calls:
			return header.Get("link")
		case <-again.C:
		}
	}
	t.Fatalf("it tells of no change\n%s", p.output.String())
	return ""
}
