package seal

import (
	"fmt"
	"strings"
	"unicode/utf8"

	strictjson "sigs.k8s.io/json"
)

const (
	// entryFormat is the format number of an entry.
	entryFormat = 1
	// maxEntryHead bounds an entry apart from its sealed string, in bytes.
	maxEntryHead = 8 << 10
	// maxEntryLength bounds the file of an entry, in bytes.
	maxEntryLength = MaxSealedReceiptLength + maxEntryHead
	// maxFileWord bounds each of the two words that a file name is made of.
	maxFileWord = 64
	// entrySuffix and temporarySuffix end the names of files.
	entrySuffix     = ".json"
	temporarySuffix = ".tmp"
)

// Entry is one result that waits to be kept.
type Entry struct {
	// Subject is what Sealed is bound to.
	Subject Subject
	// ClaimID is the id of the claim under which the request was sent.
	ClaimID string
	// Sealed is what SealReceipt, or Seal, wrote. Whether it opens, nobody has tried.
	Sealed string
}

// UnreadableFile is a file in the journal that is not an entry, or that this version cannot read. It takes the room of
// an entry and is left as it is.
type UnreadableFile struct {
	// Name is the name of the file.
	Name string
	// UID and ClaimID are what it is named after, for Remove; empty if it is not named like an entry.
	UID, ClaimID string
	// Err is ErrMalformed where no version will ever read it, so that an entry may be removed; otherwise ErrNewerFormat or
	// what the disk said, and it may become readable.
	Err error
}

// UnreadableError lists the files that could not be read, beside those that could. There is at least one.
type UnreadableError struct{ Files []UnreadableFile }

// Error names the first.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%d files in the journal are not readable as entries and were left there, the first is %q: %v",
		len(e.Files), e.Files[0].Name, e.Files[0].Err)
}

// Unwrap returns the error of each file.
func (e *UnreadableError) Unwrap() []error {
	causes := make([]error, 0, len(e.Files))
	for _, file := range e.Files {
		causes = append(causes, file.Err)
	}
	return causes
}

// entryKey tells entries apart.
type entryKey struct{ uid, claimID string }

// fileName is the name of the entry's file, and temporaryName the one it has until its content is whole. The underscore
// occurs in neither of the two words.
func (k entryKey) fileName() string { return k.uid + "_" + k.claimID + entrySuffix }

func (k entryKey) temporaryName() string { return k.uid + "_" + k.claimID + temporarySuffix }

// parseFileName is the inverse of fileName and temporaryName.
func parseFileName(name, suffix string) (key entryKey, ours bool) {
	stem, ours := strings.CutSuffix(name, suffix)
	uid, claimID, found := strings.Cut(stem, "_")
	if !ours || !found || !isFileWord(uid) || !isFileWord(claimID) {
		return entryKey{}, false
	}
	return entryKey{uid: uid, claimID: claimID}, true
}

// isFileWord reports whether the text may become part of a file name: 1 to 64 letters, digits and hyphens.
func isFileWord(text string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return text != "" && len(text) <= maxFileWord && strings.Trim(text, allowed) == ""
}

// wireEntry is the content of a file: this object in one line of UTF-8, and a line break. It is fixed: anything
// more needs another format number.
type wireEntry struct {
	Format    int64  `json:"format"`
	ClusterID string `json:"clusterID"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	ClaimID   string `json:"claimID"`
	Sealed    string `json:"sealed"`
}

// checkEntry refuses what could not be written later, apart from the sealed string.
func checkEntry(subject Subject, claimID string) (entryKey, error) {
	if _, err := associatedData(PurposeJournal, subject); err != nil {
		return entryKey{}, err
	}
	key := entryKey{uid: subject.UID, claimID: claimID}
	if !isFileWord(key.uid) || !isFileWord(key.claimID) {
		return entryKey{}, fmt.Errorf("%w: UID and claim id are of 1 to %d letters, digits and hyphens", ErrInvalidInput, maxFileWord)
	}
	if !utf8.ValidString(subject.ClusterID + "\n" + subject.Namespace + "\n" + subject.Name) {
		return entryKey{}, fmt.Errorf("%w: the subject holds bytes that are not UTF-8", ErrInvalidInput)
	}
	head, err := encodeEntry(Entry{Subject: subject, ClaimID: claimID})
	if err != nil {
		return entryKey{}, err
	}
	if len(head) > maxEntryHead {
		return entryKey{}, fmt.Errorf("%w: the subject is too long", ErrInvalidInput)
	}
	return key, nil
}

// encodeEntry returns the content of a file.
func encodeEntry(e Entry) ([]byte, error) {
	text, err := encodeWire(wireEntry{
		Format:    entryFormat,
		ClusterID: e.Subject.ClusterID, Namespace: e.Subject.Namespace, Name: e.Subject.Name, UID: e.Subject.UID,
		ClaimID: e.ClaimID, Sealed: e.Sealed,
	})
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// decodeEntry reads the content of the file that belongs to the key.
func decodeEntry(key entryKey, text []byte) (Entry, error) {
	line, whole := strings.CutSuffix(string(text), "\n")
	if !whole || strings.Contains(line, "\n") || !utf8.ValidString(line) {
		return Entry{}, fmt.Errorf("%w: the file is not one line of UTF-8", ErrMalformed)
	}
	// The number first: what else there is in a newer format is not for this version to judge.
	var number struct {
		Format int64 `json:"format"`
	}
	if err := strictjson.UnmarshalCaseSensitivePreserveInts([]byte(line), &number); err != nil {
		return Entry{}, fmt.Errorf("%w: the file is not JSON with a format number", ErrMalformed)
	}
	if number.Format > entryFormat {
		return Entry{}, ErrNewerFormat
	}
	var wire wireEntry
	findings, err := strictjson.UnmarshalStrict([]byte(line), &wire)
	if err != nil || len(findings) > 0 || wire.Format != entryFormat {
		return Entry{}, fmt.Errorf("%w: the file is not the JSON of an entry", ErrMalformed)
	}
	entry := Entry{
		Subject: Subject{ClusterID: wire.ClusterID, Namespace: wire.Namespace, Name: wire.Name, UID: wire.UID},
		ClaimID: wire.ClaimID, Sealed: wire.Sealed,
	}
	if _, err := associatedData(PurposeJournal, entry.Subject); err != nil {
		return Entry{}, fmt.Errorf("%w: its subject is not complete", ErrMalformed)
	}
	if wire.UID != key.uid || wire.ClaimID != key.claimID {
		return Entry{}, fmt.Errorf("%w: the file is named after another account or claim", ErrMalformed)
	}
	if _, _, err := parseSealed(entry.Sealed, MaxSealedReceiptLength); err != nil {
		return Entry{}, err
	}
	return entry, nil
}
