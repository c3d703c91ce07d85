package seal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Entries returns what is there now, of this process and of former ones, in the order of the file names. A file that
// cannot be read does not stop the others: the error is then an *UnreadableError, and the entries are valid. With any
// other error there are none.
//
// Whatever somebody has put into or taken from the folder by hand is seen here, and counts from here on.
func (j *Journal) Entries() ([]Entry, error) {
	if err := j.enter(); err != nil {
		return nil, err
	}
	defer j.use.RUnlock()
	names, err := j.scan()
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var entries []Entry
	var unreadable []UnreadableFile
	for _, name := range names {
		key, ours := parseFileName(name, entrySuffix)
		if !ours {
			unreadable = append(unreadable, UnreadableFile{Name: name, Err: fmt.Errorf("%w: it is not named like an entry", ErrMalformed)})
			continue
		}
		entry, err := readEntry(j.root, key)
		switch {
		case errors.Is(err, os.ErrNotExist): // removed since the names were read
		case err != nil:
			unreadable = append(unreadable, UnreadableFile{Name: name, UID: key.uid, ClaimID: key.claimID, Err: err})
		default:
			entries = append(entries, entry)
		}
	}
	if len(unreadable) > 0 {
		return entries, &UnreadableError{Files: unreadable}
	}
	return entries, nil
}

// Remove deletes an entry, if it is there. It is called when the result is kept, or is known to be of no use.
// ErrInvalidInput is returned for a UID or a claim id that cannot be one.
func (j *Journal) Remove(uid, claimID string) error {
	key := entryKey{uid: uid, claimID: claimID}
	if !isFileWord(uid) || !isFileWord(claimID) {
		return fmt.Errorf("%w: UID and claim id are of 1 to %d letters, digits and hyphens", ErrInvalidInput, maxFileWord)
	}
	if err := j.enter(); err != nil {
		return err
	}
	defer j.use.RUnlock()
	j.change.Lock()
	defer j.change.Unlock()
	if err := j.root.Remove(key.fileName()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove from the journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dropEntry(key)
	if file, found := j.unsynced[key]; found {
		delete(j.unsynced, key)
		_ = file.Close() // nobody needs what was written
	}
	return nil
}

// scan reads the names in the folder, apart from our own files that are no entries, and counts them anew.
func (j *Journal) scan() ([]string, error) {
	j.change.Lock()
	defer j.change.Unlock()
	all, err := fileNames(j.root)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries, j.held, j.foreign = map[entryKey]struct{}{}, map[string]int{}, 0
	var names []string
	for _, name := range all {
		if name == lockName || name == instanceName {
			continue
		}
		if key, ours := parseFileName(name, temporarySuffix); ours {
			if _, open := j.slots[key]; open {
				continue
			}
		}
		names = append(names, name)
		if key, ours := parseFileName(name, entrySuffix); ours {
			j.entries[key] = struct{}{}
			j.held[key.uid]++
		} else {
			j.foreign++
		}
	}
	return names, nil
}

// fileNames lists the folder, in order.
func fileNames(root *os.Root) ([]string, error) {
	folder, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := folder.Readdirnames(-1)
	if err := errors.Join(err, folder.Close()); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// readEntry reads one file. What is not a regular file is not opened, since that alone may block.
func readEntry(root *os.Root, key entryKey) (Entry, error) {
	info, err := root.Lstat(key.fileName())
	if err != nil {
		return Entry{}, err
	}
	if !info.Mode().IsRegular() {
		return Entry{}, fmt.Errorf("%w: it is not a regular file", ErrMalformed)
	}
	file, err := root.Open(key.fileName())
	if err != nil {
		return Entry{}, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxEntryLength+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return Entry{}, err
	}
	if len(text) > maxEntryLength {
		return Entry{}, fmt.Errorf("%w: the file is longer than %d bytes", ErrMalformed, maxEntryLength)
	}
	return decodeEntry(key, text)
}

// syncLater hands a written file to the background. The caller holds j.use, so that the channel is open.
func (j *Journal) syncLater(key entryKey, file *os.File) {
	j.mu.Lock()
	j.unsynced[key] = file
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}

// syncInBackground syncs what was written until the channel is closed. The page cache survives the process, so nobody
// has to wait for this; it is for the node that loses its power.
func (j *Journal) syncInBackground() {
	defer close(j.synced)
	for range j.wake {
		j.syncWritten()
	}
}

// syncWritten syncs the files that were handed over, and then the folder, which holds their names.
func (j *Journal) syncWritten() {
	j.mu.Lock()
	files := j.unsynced
	j.unsynced = map[entryKey]*os.File{}
	j.mu.Unlock()
	if len(files) == 0 {
		return
	}
	var failures []error
	for _, file := range files {
		failures = append(failures, file.Sync(), file.Close())
	}
	failures = append(failures, syncFolder(j.root))
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.syncErr == nil {
		j.syncErr = errors.Join(failures...)
	}
}

// syncFolder makes the names in the folder outlive the node.
func syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
