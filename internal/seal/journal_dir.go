package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

const (
	// dirMode and fileMode keep what is in the journal to the user that the process runs as.
	dirMode  = 0o700
	fileMode = 0o600
	// writableByOthers are the permissions that the folder may not grant.
	writableByOthers = 0o022
	// lockName is the file whose lock the process holds. It is never removed: whoever made it anew would lock another.
	lockName = "lock"
	// instanceName is the file that identifies the journal.
	instanceName = "instance"
	// instanceLength is the length of that identity, in bytes.
	instanceLength = 16
)

// openJournalDir makes the folder if it is absent, and refuses one that somebody else could write.
func openJournalDir(dir string) (*os.Root, error) {
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return nil, fmt.Errorf("%w: %s is not a folder, or is a symbolic link", ErrInvalidInput, dir)
	case info.Mode().Perm()&writableByOthers != 0:
		return nil, fmt.Errorf("%w: %s can be written by others (mode %o); in a volume, use a folder within it", ErrInvalidInput, dir, info.Mode().Perm())
	case !known || int64(owner.Uid) != int64(os.Geteuid()):
		return nil, fmt.Errorf("%w: %s belongs to another user", ErrInvalidInput, dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	// What was looked at and what was opened are two calls, and the path may have changed between them.
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%w: %s was replaced while it was opened", ErrInvalidInput, dir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// lockJournal takes the lock of the folder. The kernel releases it when the process ends, however it ends.
func lockJournal(root *os.Root) (*os.File, error) {
	file, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	err = retryInterrupted(func() error { return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrJournalInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return file, nil
}

// unlockJournal gives the lock up. Closing the file alone does not, while a child of this process is being started: it
// holds all open files until it runs its own program.
func unlockJournal(file *os.File) error {
	err := retryInterrupted(func() error { return syscall.Flock(int(file.Fd()), syscall.LOCK_UN) })
	return errors.Join(err, file.Close())
}

// retryInterrupted calls until no signal comes in between.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// removeTemporaryFiles removes what a process left that was killed while it wrote. Nobody has been told that any of it
// was written.
func removeTemporaryFiles(root *os.Root) error {
	names, err := fileNames(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, ours := parseFileName(name, temporarySuffix); !ours && name != instanceName+temporarySuffix {
			continue
		}
		info, err := root.Lstat(name)
		if err == nil && info.Mode().IsRegular() {
			err = root.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readOrMakeInstance returns the identity of the folder. One that is not whole, as a node that loses its power may
// leave it, is replaced: to be taken for somebody else costs a wait, and to start not at all costs more.
func readOrMakeInstance(root *os.Root) (string, error) {
	text, err := root.ReadFile(instanceName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if instance, whole := parseInstance(string(text)); whole {
		return instance, nil
	}
	random := make([]byte, instanceLength)
	_, _ = rand.Read(random) // it never fails; where there is no randomness the program ends
	instance := hex.EncodeToString(random)
	return instance, writeWhole(root, instanceName, instance+"\n")
}

// parseInstance reads the content of the identity's file.
func parseInstance(text string) (instance string, whole bool) {
	instance, whole = strings.CutSuffix(text, "\n")
	spelt := strings.Trim(instance, "0123456789abcdef") == ""
	return instance, whole && spelt && len(instance) == hex.EncodedLen(instanceLength)
}

// writeWhole writes a file so that it appears with all its content, and waits for the disk.
func writeWhole(root *os.Root, name, text string) error {
	temporary := name + temporarySuffix
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		return err
	}
	return syncFolder(root)
}
