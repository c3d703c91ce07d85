package seal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func openJournal(tb testing.TB, dir string, maxEntries int) *seal.Journal {
	tb.Helper()
	journal, err := seal.OpenJournal(seal.JournalOptions{Dir: dir, MaxEntries: maxEntries})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := journal.Close(); err != nil {
			tb.Error(err)
		}
	})
	return journal
}

func newJournal(tb testing.TB, maxEntries int) (journal *seal.Journal, dir string) {
	tb.Helper()
	dir = filepath.Join(tb.TempDir(), "journal")
	return openJournal(tb, dir, maxEntries), dir
}

func reserve(tb testing.TB, journal *seal.Journal, subject seal.Subject, claimID string) *seal.Slot {
	tb.Helper()
	slot, err := journal.Reserve(subject, claimID)
	if err != nil {
		tb.Fatal(err)
	}
	return slot
}

func writeEntry(tb testing.TB, journal *seal.Journal, subject seal.Subject, claimID, sealed string) {
	tb.Helper()
	if err := reserve(tb, journal, subject, claimID).Write(sealed); err != nil {
		tb.Fatal(err)
	}
}

func entriesOf(tb testing.TB, journal *seal.Journal) []seal.Entry {
	tb.Helper()
	entries, err := journal.Entries()
	if err != nil {
		tb.Fatal(err)
	}
	return entries
}

// subjectOf is an account of its own for each UID.
func subjectOf(uid string) seal.Subject {
	subject := acme()
	subject.UID = uid
	return subject
}

// namesIn lists a folder.
func namesIn(tb testing.TB, dir string) []string {
	tb.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	names := []string{}
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names
}

func writeFile(tb testing.TB, dir, name, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func TestAnEntryIsThereUntilItIsRemoved(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	journal, dir := newJournal(t, 0)
	sealed := mustSealReceipt(t, keyring, acme(), fullReceipt())
	if entries := entriesOf(t, journal); len(entries) != 0 || journal.Holds(acme().UID) {
		t.Fatalf("a new journal holds %v", entries)
	}
	slot := reserve(t, journal, acme(), "claim-1")
	if entries := entriesOf(t, journal); len(entries) != 0 || journal.Holds(acme().UID) {
		t.Errorf("a slot is no entry, got %v", entries)
	}
	if err := slot.Write(sealed); err != nil {
		t.Fatal(err)
	}
	want := []seal.Entry{{Subject: acme(), ClaimID: "claim-1", Sealed: sealed}}
	check := func(when string, journal *seal.Journal) {
		t.Helper()
		if diff := cmp.Diff(want, entriesOf(t, journal)); diff != "" || journal.Holds(acme().UID) != (len(want) > 0) {
			t.Errorf("%s: holds: %t, %s", when, journal.Holds(acme().UID), diff)
		}
	}
	check("written", journal)
	slot.Release()
	check("released after it was written", journal)
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	again := openJournal(t, dir, 0)
	check("opened again", again)
	opened, err := keyring.OpenReceipt(want[0].Subject, entriesOf(t, again)[0].Sealed)
	if err != nil || string(opened.Reply) != plantedReply {
		t.Errorf("it does not open: %v", err)
	}
	if _, err := newKeyring(t).OpenReceipt(want[0].Subject, sealed); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("with another keyring: %v", err)
	}
	want = nil
	for _, when := range []string{"removed", "removed twice"} {
		if err := again.Remove(acme().UID, "claim-1"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		check(when, again)
	}
	if diff := cmp.Diff([]string{"instance", "lock"}, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestAnAccountIsHeldUntilItsLastEntryIsGone(t *testing.T) {
	t.Parallel()
	journal, _ := newJournal(t, 0)
	sealed := mustSealReceipt(t, newKeyring(t), subjectOf("u1"), fullReceipt())
	for _, entry := range [][2]string{{"u1", "a"}, {"u1", "b"}, {"u2", "a"}} {
		writeEntry(t, journal, subjectOf(entry[0]), entry[1], sealed)
	}
	steps := []struct {
		uid, claimID string
		held         [2]bool
	}{
		{"u1", "other", [2]bool{true, true}},
		{"u1", "a", [2]bool{true, true}},
		{"u1", "a", [2]bool{true, true}},
		{"u2", "a", [2]bool{true, false}},
		{"u1", "b", [2]bool{false, false}},
	}
	for _, step := range steps {
		if err := journal.Remove(step.uid, step.claimID); err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{journal.Holds("u1"), journal.Holds("u2")}; got != step.held {
			t.Errorf("without %s of %s: held %v, want %v", step.claimID, step.uid, got, step.held)
		}
	}
}

func TestAClosedJournalIsNotTouched(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 0)
	sealed := mustSealReceipt(t, newKeyring(t), acme(), fullReceipt())
	open, released := reserve(t, journal, acme(), "claim-1"), reserve(t, journal, acme(), "claim-2")
	for i := range 20 {
		writeEntry(t, journal, acme(), fmt.Sprintf("claim-w-%d", i), sealed)
		if i%2 == 0 {
			continue
		}
		if err := journal.Remove(acme().UID, fmt.Sprintf("claim-w-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := journal.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if journal.Unsynced() != 0 {
		t.Error("Close did not wait for what was to be synced")
	}
	before := namesIn(t, dir)
	released.Release()
	_, reserveErr := journal.Reserve(acme(), "claim-3")
	_, entriesErr := journal.Entries()
	for what, err := range map[string]error{
		"Write": open.Write(sealed), "Reserve": reserveErr, "Entries": entriesErr, "Remove": journal.Remove(acme().UID, "claim-1"),
	} {
		if !errors.Is(err, seal.ErrJournalClosed) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if diff := cmp.Diff(before, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestThereIsNeverMoreThanTheRoom(t *testing.T) {
	t.Parallel()
	const room = 8
	journal, dir := newJournal(t, room)
	sealed := mustSealReceipt(t, newKeyring(t), acme(), fullReceipt())
	for i := range room - 1 {
		writeEntry(t, journal, acme(), fmt.Sprintf("c-%d", i), sealed)
	}
	use := func(want seal.JournalUse) {
		t.Helper()
		if got := journal.Use(); got != want {
			t.Errorf("the journal's use is %+v, want %+v", got, want)
		}
	}
	use(seal.JournalUse{Waiting: room - 1, Limit: room})
	full := func(when, claimID string) {
		t.Helper()
		if _, err := journal.Reserve(acme(), claimID); !errors.Is(err, seal.ErrJournalFull) {
			t.Errorf("%s: got %v", when, err)
		}
	}
	slot := reserve(t, journal, acme(), "one-more")
	full("entries and a slot", "two-more")
	use(seal.JournalUse{Waiting: room - 1, Reserved: 1, Limit: room})
	slot.Release()
	use(seal.JournalUse{Waiting: room - 1, Limit: room})
	writeEntry(t, journal, acme(), "two-more", sealed)
	full("entries", "three-more")
	if err := journal.Remove(acme().UID, "c-0"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "foreign", "counts")
	if _, err := journal.Entries(); err == nil {
		t.Fatal("a foreign file is not reported")
	}
	full("entries and a foreign file", "three-more")
	use(seal.JournalUse{Waiting: room, Limit: room})
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	journal = openJournal(t, dir, 3)
	full("more than there is room for, left by a former process", "three-more")
	if _, err := journal.Entries(); err == nil || !journal.Holds(acme().UID) {
		t.Errorf("what a former process left is gone: %v", err)
	}
}

func TestManyShareTheRoom(t *testing.T) {
	t.Parallel()
	const room = 7
	journal, dir := newJournal(t, room)
	sealed := mustSealReceipt(t, newKeyring(t), acme(), fullReceipt())
	var open, taken atomic.Int64
	var workers sync.WaitGroup
	for worker := range 10 {
		workers.Go(func() {
			uid := fmt.Sprintf("u-%d", worker)
			for lap := range 20 {
				claimID := fmt.Sprintf("c-%d", lap)
				slot, err := journal.Reserve(subjectOf(uid), claimID)
				if errors.Is(err, seal.ErrJournalFull) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				taken.Add(1)
				if open.Add(1) > room {
					t.Errorf("more than %d at once", room)
				}
				endSlot(t, journal, slot, uid, claimID, sealed, &open)
			}
		})
	}
	workers.Wait()
	if taken.Load() < 20 {
		t.Errorf("%d of 200 were taken", taken.Load())
	}
	if diff := cmp.Diff([]string{"instance", "lock"}, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
	for i := range room {
		reserve(t, journal, acme(), fmt.Sprintf("c-%d", i))
	}
}

// endSlot writes the entry, reads the journal, and removes the entry; or, with an odd claim id, only gives the room back.
func endSlot(t *testing.T, journal *seal.Journal, slot *seal.Slot, uid, claimID, sealed string, open *atomic.Int64) {
	t.Helper()
	if strings.ContainsAny(claimID[len(claimID)-1:], "13579") {
		open.Add(-1)
		slot.Release()
		slot.Release()
		return
	}
	if err := slot.Write(sealed); err != nil || !journal.Holds(uid) {
		t.Errorf("written, but held: %t, %v", journal.Holds(uid), err)
	}
	entries, err := journal.Entries()
	mine := slices.ContainsFunc(entries, func(e seal.Entry) bool { return e.Subject.UID == uid && e.ClaimID == claimID })
	if err != nil || !mine {
		t.Errorf("written, but listed: %t, %v", mine, err)
	}
	open.Add(-1)
	if err := journal.Remove(uid, claimID); err != nil || journal.Holds(uid) {
		t.Errorf("removed, but held: %t, %v", journal.Holds(uid), err)
	}
}

func TestWhatCannotBecomeAFileNameIsRefused(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 0)
	before := namesIn(t, dir)
	for name, word := range map[string]string{
		"empty": "", "a path": "../../a", "a dot": "a.json", "the folder": ".", "an underscore": "a_b", "a slash": "a/b", "a NUL": "a\x00",
		"a letter that is not ASCII": "ä", "a line break": "a\n", "too long": strings.Repeat("a", 65), "a space": "a b", "a backslash": `a\b`,
	} {
		if _, err := journal.Reserve(subjectOf(word), "c"); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s as UID: %v", name, err)
		}
		if _, err := journal.Reserve(acme(), word); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s as claim id: %v", name, err)
		}
		if err := journal.Remove(word, "c"); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s as UID to remove: %v", name, err)
		}
		if err := journal.Remove("u", word); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s as claim id to remove: %v", name, err)
		}
	}
	for name, change := range map[string]func(*seal.Subject){
		"no cluster":          func(s *seal.Subject) { s.ClusterID = "" },
		"no namespace":        func(s *seal.Subject) { s.Namespace = "" },
		"a name not UTF-8":    func(s *seal.Subject) { s.Name = "a\xff" },
		"an endless name":     func(s *seal.Subject) { s.Name = strings.Repeat("a", 9<<10) },
		"endless when spelt ": func(s *seal.Subject) { s.Name = strings.Repeat("\x00", 2<<10) },
	} {
		subject := acme()
		change(&subject)
		if _, err := journal.Reserve(subject, "c"); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestASlotIsWrittenOnceAndOnlySealed(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 2)
	receipt := fullReceipt()
	receipt.Reply = make([]byte, seal.MaxReplyLength)
	sealed := mustSealReceipt(t, newKeyring(t), acme(), receipt)
	slot := reserve(t, journal, acme(), "claim-1")
	if _, err := journal.Reserve(acme(), "claim-1"); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("a second slot for the claim: %v", err)
	}
	for name, text := range map[string]string{
		"a token": plantedRefresh, "a reply": plantedReply, "nothing": "", "two lines": sealed + "\n",
		"a newer format": "v2" + sealed[2:], "too long": sealed + strings.Repeat("A", seal.MaxSealedReceiptLength),
	} {
		if err := slot.Write(text); !errors.Is(err, seal.ErrInvalidInput) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := slot.Write(sealed); err != nil {
		t.Fatalf("after what was refused: %v", err)
	}
	if err := slot.Write(sealed); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := journal.Reserve(acme(), "claim-1"); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("a slot beside the entry: %v", err)
	}
	released := reserve(t, journal, acme(), "claim-2")
	released.Release()
	if err := released.Write(sealed); !errors.Is(err, seal.ErrInvalidInput) {
		t.Errorf("after its release: %v", err)
	}
	if diff := cmp.Diff([]string{acme().UID + "_claim-1.json", "instance", "lock"}, namesIn(t, dir)); diff != "" {
		t.Error(diff)
	}
	if entries := entriesOf(t, journal); len(entries) != 1 || entries[0].Sealed != sealed {
		t.Errorf("%d entries, or another text", len(entries))
	}
}

func TestAWriteThatFailsMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 1)
	long, short := fullReceipt(), fullReceipt()
	long.Reply = make([]byte, 1<<20)
	keyring := newKeyring(t)
	slot := reserve(t, journal, acme(), "claim-1")
	// A folder in its place is what keeps the file from its name here.
	inTheWay := filepath.Join(dir, acme().UID+"_claim-1.json")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := slot.Write(mustSealReceipt(t, keyring, acme(), long)); err == nil || journal.Holds(acme().UID) {
		t.Fatalf("held: %t, %v", journal.Holds(acme().UID), err)
	}
	if _, err := journal.Reserve(acme(), "claim-2"); !errors.Is(err, seal.ErrJournalFull) {
		t.Errorf("the slot has lost its room: %v", err)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	sealed := mustSealReceipt(t, keyring, acme(), short)
	if err := slot.Write(sealed); err != nil || !journal.Holds(acme().UID) {
		t.Fatalf("held: %t, %v", journal.Holds(acme().UID), err)
	}
	if diff := cmp.Diff([]seal.Entry{{Subject: acme(), ClaimID: "claim-1", Sealed: sealed}}, entriesOf(t, journal)); diff != "" {
		t.Error(diff)
	}
}
