package seal

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Slot is room for one entry, and the file that will be it. The caller ends it by Write, or by Release.
type Slot struct {
	journal *Journal
	key     entryKey
	subject Subject

	mu   sync.Mutex
	file *os.File // nil when the slot has ended
}

// Reserve makes room for what a request under this claim will bring. It is called before the claim: afterwards it
// would be too late to find that the disk is full.
//
// The temporary file is made, and its blocks are allocated for the longest entry there can be, where the file system
// can do that (ext4, XFS and tmpfs can). This writes no data, so that its cost does not depend on the length. On
// others a few blocks are written, which shows that the disk takes bytes, but not how many more.
//
// Errors: ErrJournalFull; ErrJournalClosed; ErrInvalidInput for a subject that is not complete, a UID or claim id that
// is not of 1 to 64 letters, digits and hyphens, and a claim that has its room already; else what the disk said.
func (j *Journal) Reserve(subject Subject, claimID string) (*Slot, error) {
	key, err := checkEntry(subject, claimID)
	if err != nil {
		return nil, err
	}
	if err := j.enter(); err != nil {
		return nil, err
	}
	defer j.use.RUnlock()
	if err := j.takeRoom(key); err != nil {
		return nil, err
	}
	file, err := prepareFile(j.root, key.temporaryName())
	if err != nil {
		j.giveRoomBack(key)
		return nil, fmt.Errorf("make room in the journal: %w", err)
	}
	return &Slot{journal: j, key: key, subject: subject, file: file}, nil
}

// prepareFile makes a file that the longest entry fits into, or none.
func prepareFile(root *os.Root, name string) (*os.File, error) {
	file, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := allocate(file); err != nil {
		return nil, errors.Join(err, file.Close(), root.Remove(name))
	}
	return file, nil
}

// blankLength is what is written where blocks cannot be allocated.
const blankLength = 64 << 10

// writeBlank shows that the disk takes bytes.
func writeBlank(file *os.File) error {
	_, err := file.WriteAt(make([]byte, blankLength), 0)
	return err
}

// Write makes the entry. When it returns, the entry outlives the process; that it outlives the node as well is left to
// the background, see Close. sealed comes from SealReceipt or Seal: anything that does not look like it is
// ErrInvalidInput, so that nothing gets onto the disk in clear. After an error the slot is as before, and Write may be
// tried again; after success it has ended.
func (s *Slot) Write(sealed string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.journal.enter(); err != nil {
		return err
	}
	defer s.journal.use.RUnlock()
	if err := s.fill(sealed); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	if err := s.commit(); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}

// fill writes the entry into the temporary file.
func (s *Slot) fill(sealed string) error {
	if s.file == nil {
		return fmt.Errorf("%w: the slot was written or released before", ErrInvalidInput)
	}
	if _, _, err := parseSealed(sealed, MaxSealedReceiptLength); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidInput, err)
	}
	text, err := encodeEntry(Entry{Subject: s.subject, ClaimID: s.key.claimID, Sealed: sealed})
	if err != nil {
		return err
	}
	if _, err := s.file.WriteAt(text, 0); err != nil {
		return err
	}
	return s.file.Truncate(int64(len(text)))
}

// commit gives the temporary file its name. The entry counts before it is there, so that nobody finds a file which
// Holds denies.
func (s *Slot) commit() error {
	j := s.journal
	j.change.Lock()
	defer j.change.Unlock()
	j.slotToEntry(s.key)
	if err := j.root.Rename(s.key.temporaryName(), s.key.fileName()); err != nil {
		j.entryToSlot(s.key)
		return err
	}
	j.syncLater(s.key, s.file)
	s.file = nil
	return nil
}

// Release gives the room back, if nothing was written. It may be called at any time and any number of times.
func (s *Slot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return
	}
	// Nothing was written that anybody needs, and what cannot be removed now is removed by the next OpenJournal.
	_ = s.file.Close()
	s.file = nil
	if s.journal.enter() != nil {
		return
	}
	defer s.journal.use.RUnlock()
	_ = s.journal.root.Remove(s.key.temporaryName())
	s.journal.giveRoomBack(s.key)
}
