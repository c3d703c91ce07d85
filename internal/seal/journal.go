package seal

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// The errors of the journal, for errors.Is.
var (
	// ErrJournalFull: as many results wait to be kept as the journal takes. No new request may be sent.
	ErrJournalFull = errors.New("the journal has no room for another result")
	// ErrJournalInUse: another process, or another part of this one, has the folder open as its journal.
	ErrJournalInUse = errors.New("the journal is in use by another process")
	// ErrJournalClosed: Close has been called.
	ErrJournalClosed = errors.New("the journal is closed")
)

// defaultMaxEntries is how many results may wait to be kept, where nothing else is said.
const defaultMaxEntries = 64

// JournalOptions say where the journal is.
type JournalOptions struct {
	// Dir is the folder. Its parent exists; it is itself made if it does not. Nobody else may be able to write it, which
	// is not so for the root of an emptyDir: there it is a folder within. Each open slot takes MaxSealedReceiptLength of
	// the volume: a size limit has to leave room for MaxEntries of them (208 MiB for 64), and a volume in memory, where
	// that much memory would be taken, is not the place for it.
	Dir string
	// MaxEntries bounds entries and slots together. 0: 64.
	MaxEntries int
}

// Journal is a folder on the pod's own disk that holds what token requests brought, sealed, until it is kept in the
// status of the account. It outlives the process and the container, but not the pod.
//
// Each entry is a file of its own, named after the UID of the account and the id of the claim. A file appears under
// that name with all its content or not at all, however the process ends. Only one process has the folder open.
//
// Safe for concurrent use.
type Journal struct {
	maxEntries int
	instance   string
	root       *os.Root // the folder itself, whatever its path leads to by now
	lock       *os.File

	// use is held for reading by everything that touches the folder, and for writing by Close, after which another
	// process may own it.
	use    sync.RWMutex
	closed bool

	// change orders the changes of which entries there are, each of which is one on disk and one in memory. No slot
	// ends while it is held.
	change sync.Mutex

	// mu guards what follows. It is never held while the disk is used, so that Holds never waits for a disk.
	mu       sync.Mutex
	entries  map[entryKey]struct{}
	held     map[string]int // entries by UID
	slots    map[entryKey]struct{}
	foreign  int // files that are not ours, and take room all the same
	unsynced map[entryKey]*os.File
	syncErr  error

	wake   chan struct{} // there is something to sync
	synced chan struct{} // closed when nothing will be synced any more
}

// OpenJournal opens the folder, for this process alone, and removes the temporary files of a former one.
//
// Errors: ErrJournalInUse; ErrInvalidInput for options that make no sense and for a folder that is none, or is a
// symbolic link, or belongs to somebody else, or can be written by others; else what the disk said.
func OpenJournal(o JournalOptions) (*Journal, error) {
	if o.MaxEntries < 0 || o.Dir == "" {
		return nil, fmt.Errorf("%w: the journal needs a folder and room for at least one entry", ErrInvalidInput)
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = defaultMaxEntries
	}
	root, err := openJournalDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	lock, err := lockJournal(root)
	if err != nil {
		_ = root.Close() // nothing was written through it
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{
		maxEntries: o.MaxEntries, root: root, lock: lock,
		slots: map[entryKey]struct{}{}, unsynced: map[entryKey]*os.File{},
		wake: make(chan struct{}, 1), synced: make(chan struct{}),
	}
	if err := j.takeOver(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the journal: %w", err), unlockJournal(lock), root.Close())
	}
	go j.syncInBackground()
	return j, nil
}

// takeOver makes a folder that is locked ours: no former process touches it any more.
func (j *Journal) takeOver() error {
	if err := removeTemporaryFiles(j.root); err != nil {
		return err
	}
	var err error
	if j.instance, err = readOrMakeInstance(j.root); err != nil {
		return err
	}
	_, err = j.scan()
	return err
}

// Instance returns 32 hexadecimal digits that were chosen at random when the folder was first used. A container that
// restarts in the same pod sees the same again, a pod that replaces another does not.
func (j *Journal) Instance() string { return j.instance }

// Holds reports whether there is an entry of the account with this UID, of this process or a former one. A file that
// bears its name counts, even if it cannot be read: it may hold the only refresh token that is still good. It asks
// memory alone.
func (j *Journal) Holds(uid string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.held[uid] > 0
}

// JournalUse is how full a journal is.
type JournalUse struct {
	// Waiting are the results that wait to be kept, and files that are not ours and take room all the same; Reserved is the room
	// that is taken for requests that are under way. Together they never exceed Limit.
	Waiting, Reserved, Limit int
}

// Use tells how full the journal is. It asks memory alone.
func (j *Journal) Use() JournalUse {
	j.mu.Lock()
	defer j.mu.Unlock()
	return JournalUse{Waiting: len(j.entries) + j.foreign, Reserved: len(j.slots), Limit: j.maxEntries}
}

// Close waits until everything that was written is synced to the disk, and gives the folder free. Slots that are
// still open cannot be written any more. The error is the first that any sync has met; the folder is free all the same.
// A second Close does nothing.
func (j *Journal) Close() error {
	j.use.Lock()
	if j.closed {
		j.use.Unlock()
		return nil
	}
	j.closed = true
	close(j.wake)
	j.use.Unlock()
	<-j.synced
	j.mu.Lock()
	syncErr := j.syncErr
	j.mu.Unlock()
	if err := errors.Join(syncErr, j.root.Close(), unlockJournal(j.lock)); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// enter lets the caller touch the folder until it unlocks j.use for reading.
func (j *Journal) enter() error {
	j.use.RLock()
	if j.closed {
		j.use.RUnlock()
		return ErrJournalClosed
	}
	return nil
}

// takeRoom counts a slot.
func (j *Journal) takeRoom(key entryKey) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, written := j.entries[key]
	_, taken := j.slots[key]
	switch {
	case written || taken:
		return fmt.Errorf("%w: the claim has its room in the journal already", ErrInvalidInput)
	case len(j.entries)+len(j.slots)+j.foreign >= j.maxEntries:
		return ErrJournalFull
	}
	j.slots[key] = struct{}{}
	return nil
}

// giveRoomBack is the inverse of takeRoom. It waits for a scan to end, which would otherwise have seen the temporary
// file, and then no slot to which it belongs.
func (j *Journal) giveRoomBack(key entryKey) {
	j.change.Lock()
	defer j.change.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.slots, key)
}

// slotToEntry counts what was a slot as an entry; entryToSlot is its inverse.
func (j *Journal) slotToEntry(key entryKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.slots, key)
	j.entries[key] = struct{}{}
	j.held[key.uid]++
}

func (j *Journal) entryToSlot(key entryKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dropEntry(key)
	j.slots[key] = struct{}{}
}

// dropEntry no longer counts an entry, if it was counted. The caller holds j.mu.
func (j *Journal) dropEntry(key entryKey) {
	if _, found := j.entries[key]; !found {
		return
	}
	delete(j.entries, key)
	j.held[key.uid]--
	if j.held[key.uid] == 0 {
		delete(j.held, key.uid)
	}
}
