package seal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func TestWhatIsInTheFolderIsForNobodyElse(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 0)
	sealed := mustSealReceipt(t, newKeyring(t), acme(), fullReceipt())
	writeEntry(t, journal, acme(), "claim-1", sealed)
	reserve(t, journal, acme(), "claim-2")
	want := map[string]os.FileMode{
		".": os.ModeDir | 0o700, "lock": 0o600, "instance": 0o600,
		acme().UID + "_claim-1.json": 0o600, acme().UID + "_claim-2.tmp": 0o600,
	}
	got := map[string]os.FileMode{}
	for _, name := range append(namesIn(t, dir), ".") {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = info.Mode() &^ os.ModeSetgid
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text, err := os.ReadFile(filepath.Join(dir, acme().UID+"_claim-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	documented := `{"format":1,"clusterID":"cluster-1","namespace":"shop","name":"acme","uid":"` + acme().UID +
		`","claimID":"claim-1","sealed":"` + sealed + `"}` + "\n"
	if diff := cmp.Diff(documented, string(text)); diff != "" {
		t.Error(diff)
	}
}

func TestAFolderIsRefusedThatIsNotOursAlone(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		prepare func(dir string) error
		want    error
	}{
		"absent":              {func(string) error { return nil }, nil},
		"there":               {folderOf(0o700), nil},
		"readable by others":  {folderOf(0o755), nil},
		"writable by a group": {folderOf(0o720), seal.ErrInvalidInput},
		"writable by others":  {folderOf(0o702), seal.ErrInvalidInput},
		"as an emptyDir is":   {folderOf(0o777), seal.ErrInvalidInput},
		"a shared folder":     {folderOf(0o777 | os.ModeSticky), seal.ErrInvalidInput},
		"a file":              {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, seal.ErrInvalidInput},
		"a link to a folder":  {func(dir string) error { return errors.Join(os.Mkdir(dir+"2", 0o700), os.Symlink(dir+"2", dir)) }, seal.ErrInvalidInput},
		"a link to nothing":   {func(dir string) error { return os.Symlink(dir+"2", dir) }, seal.ErrInvalidInput},
		"in no folder":        {func(dir string) error { return os.Remove(filepath.Dir(dir)) }, os.ErrNotExist},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "parent", "journal")
			if err := errors.Join(os.Mkdir(filepath.Dir(dir), 0o700), c.prepare(dir)); err != nil {
				t.Fatal(err)
			}
			journal, err := seal.OpenJournal(seal.JournalOptions{Dir: dir})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				writeEntry(t, journal, acme(), "c", mustSealReceipt(t, newKeyring(t), acme(), fullReceipt()))
				if err := journal.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, options := range map[string]seal.JournalOptions{"no folder": {}, "no room": {Dir: t.TempDir(), MaxEntries: -1}} {
		if _, err := seal.OpenJournal(options); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// folderOf makes a folder with these permissions.
func folderOf(mode os.FileMode) func(dir string) error {
	return func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)) }
}

func TestTheFolderOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	if err := errors.Join(folderOf(0o700)(dir), os.Chown(dir, 65532, -1)); err != nil {
		t.Skipf("only the superuser can give a folder away: %v", err)
	}
	if _, err := seal.OpenJournal(seal.JournalOptions{Dir: dir}); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("got %v", err)
	}
}

func TestTheInstanceStaysWithTheFolder(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 0)
	first := journal.Instance()
	if len(first) != 32 || strings.Trim(first, "0123456789abcdef") != "" {
		t.Errorf("not 128 bits in hexadecimal digits: %q", first)
	}
	if other, _ := newJournal(t, 0); other.Instance() == first {
		t.Error("two folders have the same instance")
	}
	reopen := func() string {
		t.Helper()
		if err := journal.Close(); err != nil {
			t.Fatal(err)
		}
		journal = openJournal(t, dir, 0)
		return journal.Instance()
	}
	if got := reopen(); got != first {
		t.Errorf("opened again it is %s and not %s", got, first)
	}
	writeFile(t, dir, "instance.tmp", "half")
	if got := reopen(); got != first {
		t.Errorf("after a process that was killed while it wrote, it is %s and not %s", got, first)
	}
	for name, text := range map[string]string{
		"cut short": first[:20], "empty": "", "without its line break": first, "zeros": strings.Repeat("\x00", 33),
		"in capitals": strings.Repeat("A", 32) + "\n", "too long": first + "00\n",
	} {
		writeFile(t, dir, "instance", text)
		replaced := reopen()
		if replaced == first || len(replaced) != 32 || replaced == text || reopen() != replaced {
			t.Errorf("%s: it became %q", name, replaced)
		}
	}
}

func TestASecondUserOfTheFolderIsRefused(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 0)
	slot := reserve(t, journal, acme(), "claim-1")
	if _, err := seal.OpenJournal(seal.JournalOptions{Dir: dir}); !errors.Is(err, seal.ErrJournalInUse) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if err := slot.Write(mustSealReceipt(t, newKeyring(t), acme(), fullReceipt())); err != nil {
		t.Errorf("the second one has disturbed the first: %v", err)
	}
}
