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

// soundEntry is the content of the file of acme's entry.
func soundEntry(tb testing.TB, keyring *seal.Keyring, claimID string) string {
	tb.Helper()
	text, err := seal.EncodeEntry(seal.Entry{Subject: acme(), ClaimID: claimID, Sealed: mustSealReceipt(tb, keyring, acme(), fullReceipt())})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestAnEntryIsReadStrictly(t *testing.T) {
	t.Parallel()
	keyring := newKeyring(t)
	sound := soundEntry(t, keyring, "claim-1")
	head, _, _ := strings.Cut(sound, `,"sealed"`)
	instead := func(old, text string) string { return strings.Replace(sound, old, text, 1) }
	cases := map[string]struct {
		text string
		want error
	}{
		"sound":                            {sound, nil},
		"other white space":                {instead(":", ": "), nil},
		"no line break":                    {strings.TrimSuffix(sound, "\n"), seal.ErrMalformed},
		"two line breaks":                  {sound + "\n", seal.ErrMalformed},
		"two lines":                        {sound + sound, seal.ErrMalformed},
		"cut short":                        {sound[:len(sound)-4] + "\n", seal.ErrMalformed},
		"empty":                            {"", seal.ErrMalformed},
		"zeros":                            {strings.Repeat("\x00", 4096), seal.ErrMalformed},
		"zeros behind it":                  {sound + strings.Repeat("\x00", 4096), seal.ErrMalformed},
		"not UTF-8":                        {instead("shop", "sh\xffp"), seal.ErrMalformed},
		"null":                             {"null\n", seal.ErrMalformed},
		"an array":                         {"[" + strings.TrimSuffix(sound, "\n") + "]\n", seal.ErrMalformed},
		"no format":                        {instead(`"format":1,`, ``), seal.ErrMalformed},
		"format 0":                         {instead(`"format":1`, `"format":0`), seal.ErrMalformed},
		"a format of text":                 {instead(`"format":1`, `"format":"1"`), seal.ErrMalformed},
		"the format twice":                 {instead(`"format":1`, `"format":1,"format":1`), seal.ErrMalformed},
		"format 2":                         {instead(`"format":1`, `"format":2`), seal.ErrNewerFormat},
		"format 2 with another layout":     {`{"format":2,"subject":["x"],"uid":7}` + "\n", seal.ErrNewerFormat},
		"a member more":                    {instead(`"format":1`, `"format":1,"more":1`), seal.ErrMalformed},
		"a member in capitals":             {instead(`"name"`, `"Name"`), seal.ErrMalformed},
		"a member twice":                   {instead(`"name":"acme"`, `"name":"acme","name":"acme"`), seal.ErrMalformed},
		"no name":                          {instead(`"name":"acme",`, ``), seal.ErrMalformed},
		"another UID than its name":        {instead(`"uid":"8`, `"uid":"9`), seal.ErrMalformed},
		"another claim id than its name":   {instead(`"claim-1"`, `"claim-2"`), seal.ErrMalformed},
		"sealed is missing":                {head + "}\n", seal.ErrMalformed},
		"sealed in a newer format":         {instead(`"v1:`, `"v2:`), seal.ErrNewerFormat},
		"sealed is not what is sealed":     {instead(`"v1:`, `"w1:`), seal.ErrMalformed},
		"sealed by another key is no flaw": {soundEntry(t, newKeyring(t), "claim-1"), nil},
	}
	for name, c := range cases {
		entry, err := seal.DecodeEntry(acme().UID, "claim-1", []byte(c.text))
		if !errors.Is(err, c.want) || (err == nil) != (entry.Subject == acme() && entry.ClaimID == "claim-1" && entry.Sealed != "") {
			t.Errorf("%s: got %v and an entry of %v", name, err, entry.Subject)
		}
	}
}

func TestAFileThatIsNoEntryDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	journal, dir := newJournal(t, 20)
	addUnreadable(t, journal, dir)
	before := namesIn(t, dir)
	checkBesideUnreadable(t, journal)
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	again := openJournal(t, dir, 20)
	checkBesideUnreadable(t, again)
	if diff := cmp.Diff(before, namesIn(t, dir)); diff != "" {
		t.Errorf("not everything was left in place: %s", diff)
	}
	if err := again.Remove("u1", "claim-1"); err != nil || again.Holds("u1") {
		t.Errorf("an unreadable entry is removed by its name: held %t, %v", again.Holds("u1"), err)
	}
	if err := os.Remove(filepath.Join(dir, "u2_claim-2.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Entries(); err == nil || again.Holds("u2") {
		t.Errorf("what was removed by hand counts until the folder is read: %v", err)
	}
}

// addUnreadable puts two entries into the journal, and nine files that are none.
func addUnreadable(t *testing.T, journal *seal.Journal, dir string) {
	t.Helper()
	keyring, uid := newKeyring(t), acme().UID
	writeEntry(t, journal, acme(), "claim-5", mustSealReceipt(t, keyring, acme(), fullReceipt()))
	writeEntry(t, journal, subjectOf("zz"), "claim-6", mustSealReceipt(t, keyring, subjectOf("zz"), fullReceipt()))
	sound := soundEntry(t, keyring, "claim-5")
	writeFile(t, dir, "u1_claim-1.json", "")
	writeFile(t, dir, "u2_claim-2.json", sound) // of another account
	writeFile(t, dir, uid+"_claim-3.json", strings.Replace(sound, `"format":1`, `"format":2`, 1))
	writeFile(t, dir, "u4_claim-4.json", strings.Repeat("a", seal.MaxSealedReceiptLength+(9<<10)))
	writeFile(t, dir, "notes.txt", "left here by somebody")
	writeFile(t, dir, "u7_claim_7.json", sound)
	writeFile(t, dir, "other.tmp", "not ours")
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "u8_claim-8.json"), 0o700),
		os.Symlink(uid+"_claim-5.json", filepath.Join(dir, uid+"_claim-9.json")),
	); err != nil {
		t.Fatal(err)
	}
}

func checkBesideUnreadable(t *testing.T, journal *seal.Journal) {
	t.Helper()
	entries, err := journal.Entries()
	if len(entries) != 2 || entries[0].ClaimID != "claim-5" || entries[1].ClaimID != "claim-6" {
		t.Errorf("%d entries", len(entries))
	}
	checkUnreadable(t, err)
	for _, uid := range []string{"u1", "u2", "u4", "u8", acme().UID, "zz"} {
		if !journal.Holds(uid) {
			t.Errorf("%s is not held", uid)
		}
	}
	slots := []*seal.Slot{}
	for i := range 20 - 11 {
		slots = append(slots, reserve(t, journal, acme(), strings.Repeat("r", i+1)))
	}
	if _, err := journal.Reserve(acme(), "last"); !errors.Is(err, seal.ErrJournalFull) {
		t.Errorf("what cannot be read takes room: got %v", err)
	}
	_, err = journal.Entries() // open slots are no files of others
	checkUnreadable(t, err)
	for _, slot := range slots {
		slot.Release()
	}
}

func checkUnreadable(t *testing.T, err error) {
	t.Helper()
	var unreadable *seal.UnreadableError
	if !errors.As(err, &unreadable) || !errors.Is(err, seal.ErrNewerFormat) || !errors.Is(err, seal.ErrMalformed) {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), "left here by somebody") {
		t.Errorf("the error quotes a file: %v", err)
	}
	got := map[string][3]string{}
	for _, file := range unreadable.Files {
		name := ""
		for sentinel, err := range sentinels() {
			if errors.Is(file.Err, err) {
				name += sentinel
			}
		}
		if file.UID == "u4" && !strings.Contains(file.Err.Error(), "longer than") {
			t.Errorf("a file too long: %v", file.Err)
		}
		got[file.Name] = [3]string{file.UID, file.ClaimID, name}
	}
	uid := acme().UID
	want := map[string][3]string{
		"u1_claim-1.json":     {"u1", "claim-1", "ErrMalformed"},
		"u2_claim-2.json":     {"u2", "claim-2", "ErrMalformed"},
		uid + "_claim-3.json": {uid, "claim-3", "ErrNewerFormat"},
		"u4_claim-4.json":     {"u4", "claim-4", "ErrMalformed"},
		"notes.txt":           {"", "", "ErrMalformed"},
		"u7_claim_7.json":     {"", "", "ErrMalformed"},
		"other.tmp":           {"", "", "ErrMalformed"},
		"u8_claim-8.json":     {"u8", "claim-8", "ErrMalformed"},
		uid + "_claim-9.json": {uid, "claim-9", "ErrMalformed"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecodeEntry shows that no file makes the reader panic, and that what it takes for an entry is one.
func FuzzDecodeEntry(f *testing.F) {
	golden := readVector(f, "journal.json")
	keyring := parseKeyring(f, bytesOf(golden.Keyring))
	sound := soundEntry(f, keyring, "claim-1")
	for _, text := range []string{
		sound, strings.TrimSuffix(sound, "\n"), sound[:len(sound)/2], strings.Replace(sound, `"format":1`, `"format":9`, 1),
		strings.Replace(sound, "shop", "sh\\u006fp", 1), strings.Replace(sound, `{`, `{"format":1,`, 1), "{}\n", "null\n", "\x00\n", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entry, err := seal.DecodeEntry(acme().UID, "claim-1", []byte(text))
		if err != nil {
			if !errors.Is(err, seal.ErrMalformed) && !errors.Is(err, seal.ErrNewerFormat) {
				t.Fatalf("an error without a name: %v", err)
			}
			return
		}
		if entry.Subject.UID != acme().UID || entry.ClaimID != "claim-1" || !strings.HasSuffix(text, "\n") {
			t.Fatalf("an entry of another name: %v", entry.Subject)
		}
		again, err := seal.EncodeEntry(entry)
		if err != nil {
			t.Fatal(err)
		}
		same, err := seal.DecodeEntry(acme().UID, "claim-1", again)
		if err != nil || same != entry {
			t.Fatalf("it does not come back: %v", err)
		}
	})
}
