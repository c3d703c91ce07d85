package seal_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// child is another process that has the journal open.
type child struct {
	command *exec.Cmd
	lines   *bufio.Scanner
}

// startChild runs this test binary on a task of runChild. It ends when it is killed, or when its standard input does.
func startChild(t *testing.T, task, dir string) *child {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir)
	command.Stderr = os.Stderr
	if _, err := command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{command: command, lines: bufio.NewScanner(output)}
}

// line is the next thing that the process says; "" when it says nothing more.
func (c *child) line() string {
	if !c.lines.Scan() {
		return ""
	}
	return c.lines.Text()
}

// kill ends the process as kill -9 does, and returns what it had said until then.
func (c *child) kill(t *testing.T) []string {
	t.Helper()
	if err := c.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for line := c.line(); line != ""; line = c.line() {
		rest = append(rest, line)
	}
	var exit *exec.ExitError
	if err := c.command.Wait(); !errors.As(err, &exit) || exit.Success() {
		t.Fatalf("it was not killed: %v", err)
	}
	return rest
}

// runChild is what the other process does. It says "ready" where it wants to be killed.
func runChild(task, dir string) int {
	tasks := map[string]func(*seal.Journal, *seal.Keyring) error{
		"hold": func(*seal.Journal, *seal.Keyring) error { return nil },
		"fill": func(journal *seal.Journal, keyring *seal.Keyring) error {
			return childEntry(journal, keyring, "claim-1", (*seal.Slot).Fill)
		},
		"write": func(journal *seal.Journal, keyring *seal.Keyring) error {
			return childEntry(journal, keyring, "claim-1", (*seal.Slot).Write)
		},
		"reserve": func(journal *seal.Journal, _ *seal.Keyring) error {
			_, err := journal.Reserve(acme(), "claim-1")
			return err
		},
		"many": childMany,
		"full": childOnAFullDisk,
	}
	err := func() error {
		keyring, err := childKeyring()
		if err != nil {
			return err
		}
		journal, err := seal.OpenJournal(seal.JournalOptions{Dir: dir})
		if err != nil {
			return err
		}
		fmt.Println("open", journal.Instance())
		return tasks[task](journal, keyring)
	}()
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// childKeyring is the same keyring in each process.
func childKeyring() (*seal.Keyring, error) {
	golden, err := loadVector("journal.json")
	if err != nil {
		return nil, err
	}
	return seal.ParseKeyring(bytesOf(golden.Keyring))
}

func parentKeyring(t *testing.T) *seal.Keyring {
	t.Helper()
	keyring, err := childKeyring()
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

// replyOf is long enough for a kill to fall into the middle of it.
func replyOf(claimID string) []byte { return bytes.Repeat([]byte(claimID+" "), 1<<20/(len(claimID)+1)) }

func childEntry(journal *seal.Journal, keyring *seal.Keyring, claimID string, end func(*seal.Slot, string) error) error {
	receipt := fullReceipt()
	receipt.ClaimID, receipt.Reply = claimID, replyOf(claimID)
	sealed, err := keyring.SealReceipt(acme(), receipt)
	if err != nil {
		return err
	}
	slot, err := journal.Reserve(acme(), claimID)
	if err != nil {
		return err
	}
	return end(slot, sealed)
}

// childMany writes one entry after the other, and removes every second of them again. It never ends.
func childMany(journal *seal.Journal, keyring *seal.Keyring) error {
	for i := 0; ; i++ {
		claimID := fmt.Sprintf("claim-%d", i)
		if err := childEntry(journal, keyring, claimID, (*seal.Slot).Write); err != nil {
			return err
		}
		fmt.Println("written", claimID)
		if i%2 == 0 {
			continue
		}
		fmt.Println("removing", claimID)
		if err := journal.Remove(acme().UID, claimID); err != nil {
			return err
		}
	}
}

// childOnAFullDisk sees files that may not grow, which is as near to a full disk as an ordinary user gets.
func childOnAFullDisk(journal *seal.Journal, keyring *seal.Keyring) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	small := limit
	small.Cur = 16 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	for range 100 { // more than there is room for
		if _, err := journal.Reserve(acme(), "claim-1"); !errors.Is(err, syscall.EFBIG) {
			return fmt.Errorf("reserved on a full disk: %w", err)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	return childEntry(journal, keyring, "claim-1", (*seal.Slot).Write)
}

func TestWhatAKilledProcessLeaves(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		task    string
		left    string
		entries []string
	}{
		"killed with a slot open":              {"reserve", acme().UID + "_claim-1.tmp", nil},
		"killed before the file has its name":  {"fill", acme().UID + "_claim-1.tmp", nil},
		"killed as soon as Write has returned": {"write", acme().UID + "_claim-1.json", []string{"claim-1"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "journal")
			process := startChild(t, c.task, dir)
			instance, found := strings.CutPrefix(process.line(), "open ")
			if ready := process.line(); !found || ready != "ready" {
				t.Fatalf("the process says %q", ready)
			}
			process.kill(t)
			if diff := cmp.Diff([]string{c.left, "instance", "lock"}, namesIn(t, dir)); diff != "" {
				t.Fatalf("it has not left what it was to leave: %s", diff)
			}
			journal := openJournal(t, dir, 1)
			if journal.Instance() != instance {
				t.Errorf("the instance was %s and is %s", instance, journal.Instance())
			}
			checkWhole(t, journal, parentKeyring(t), c.entries, c.entries)
			if held := len(c.entries) > 0; journal.Holds(acme().UID) != held {
				t.Errorf("held: %t", !held)
			}
			if len(c.entries) == 0 {
				reserve(t, journal, acme(), "claim-1").Release()
			}
		})
	}
}

// checkWhole checks that each entry opens to what was written, that none is missing which must be there, and that
// there is none which may not.
func checkWhole(t *testing.T, journal *seal.Journal, keyring *seal.Keyring, must, may []string) {
	t.Helper()
	present := []string{}
	for _, entry := range entriesOf(t, journal) {
		present = append(present, entry.ClaimID)
		receipt, err := keyring.OpenReceipt(entry.Subject, entry.Sealed)
		if err != nil || receipt.ClaimID != entry.ClaimID || !bytes.Equal(receipt.Reply, replyOf(entry.ClaimID)) {
			t.Errorf("%s is not whole: %v", entry.ClaimID, err)
		}
		if !slices.Contains(may, entry.ClaimID) {
			t.Errorf("%s is there, though it was removed or never written", entry.ClaimID)
		}
	}
	for _, claimID := range must {
		if !slices.Contains(present, claimID) {
			t.Errorf("%s is gone, though Write had returned", claimID)
		}
	}
}

func TestAKillAmongManyWritesLeavesWholeEntries(t *testing.T) {
	t.Parallel()
	keyring := parentKeyring(t)
	for after := range 12 {
		dir := filepath.Join(t.TempDir(), "journal")
		process := startChild(t, "many", dir)
		said := []string{process.line()}
		for range after {
			said = append(said, process.line())
		}
		said = append(said, process.kill(t)...)
		must, may := manyOutcome(t, said)
		checkWhole(t, openJournal(t, dir, 0), keyring, must, may)
	}
}

// manyOutcome reads what childMany has said: the entries that must be there, and those that may.
func manyOutcome(t *testing.T, said []string) (must, may []string) {
	t.Helper()
	written := 0
	for i, line := range said[1:] {
		claimID, found := strings.CutPrefix(line, "written ")
		switch {
		case found && claimID == fmt.Sprintf("claim-%d", written):
			written++
			must = append(must, claimID)
			may = append(may, claimID)
		case !found && strings.HasPrefix(line, "removing claim-"):
			must = must[:len(must)-1]
			if i+2 < len(said) { // something was said after it, so the entry was gone by then
				may = may[:len(may)-1]
			}
		default:
			t.Fatalf("the process says %q", line)
		}
	}
	// What it was killed over may be there already.
	return must, append(may, fmt.Sprintf("claim-%d", written))
}

func TestTheFolderIsFreeWhenItsProcessIsKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	holder := startChild(t, "hold", dir)
	first, second := holder.line(), holder.line()
	if !strings.HasPrefix(first, "open ") || second != "ready" {
		t.Fatalf("the process says %q, %q", first, second)
	}
	if _, err := seal.OpenJournal(seal.JournalOptions{Dir: dir}); !errors.Is(err, seal.ErrJournalInUse) {
		t.Errorf("beside another process: got %v", err)
	}
	other := startChild(t, "hold", dir)
	if line := other.line(); !strings.Contains(line, "in use by another process") {
		other.kill(t)
		t.Fatalf("the other process goes on and says %q", line)
	}
	if err := other.command.Wait(); err == nil {
		t.Error("the other process has ended without an error")
	}
	holder.kill(t)
	if journal := openJournal(t, dir, 0); "open "+journal.Instance() != first {
		t.Errorf("the instance is %s, where it was to be: %s", journal.Instance(), first)
	}
}

func TestAFullDiskIsFoundBeforeTheClaim(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	process := startChild(t, "full", dir)
	if first, second := process.line(), process.line(); second != "ready" {
		t.Fatalf("the process says %q, %q", first, second)
	}
	process.kill(t)
	journal := openJournal(t, dir, 0)
	checkWhole(t, journal, parentKeyring(t), []string{"claim-1"}, []string{"claim-1"})
	if diff := cmp.Diff([]string{acme().UID + "_claim-1.json", "instance", "lock"}, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
}
