// Package volume writes the files of a Secret into a folder as a kubelet does: each version into a folder of its own, which one
// rename then puts in the place of the version before. It must never change a file that can be read already.
package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DataLink is the symbolic link that is swapped: each file of the mount is a link through it.
const DataLink = "..data"

// Write makes a folder hold the given files, and lets whoever reads it see either all old ones or all new ones. It
// does so as a kubelet does: the files lie in a folder of their own, and one rename makes ..data point to it.
func Write(folder string, files map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	before, err := os.Readlink(filepath.Join(folder, DataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh, err := os.MkdirTemp(folder, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(fresh, name), content, 0o600); err != nil {
			return err
		}
	}
	swap := filepath.Join(folder, DataLink+"_tmp")
	if err := os.Symlink(filepath.Base(fresh), swap); err != nil {
		return err
	}
	if err := os.Rename(swap, filepath.Join(folder, DataLink)); err != nil {
		return err
	}
	if err := linkFiles(folder, files); err != nil {
		return err
	}
	if before != "" {
		return os.RemoveAll(filepath.Join(folder, before))
	}
	return nil
}

// Read returns what a program sees in the folder: files by name. A link to nothing, which a reader never sees, is an error that
// wraps [os.ErrNotExist].
func Read(folder string) (map[string][]byte, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		if files[entry.Name()], err = os.ReadFile(filepath.Join(folder, entry.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// linkFiles makes one link for each file, and removes those of files that are gone.
func linkFiles(folder string, files map[string][]byte) error {
	for name := range files {
		err := os.Symlink(filepath.Join(DataLink, name), filepath.Join(folder, name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, wanted := files[entry.Name()]; wanted || strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
