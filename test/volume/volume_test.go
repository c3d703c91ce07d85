package volume_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/volume"
)

func TestAReaderSeesOldOrNewAndNothingBetween(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(n int) {
		content := []byte(strconv.Itoa(n))
		if err := volume.Write(folder, map[string][]byte{"a": content, "b": content}); err != nil {
			t.Error(err)
		}
	}
	write(0)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(done)
		for n := range 200 {
			write(n + 1)
		}
	})
	for reads := 0; ; {
		select {
		case <-done:
			writer.Wait()
			if reads == 0 {
				t.Error("nothing was read meanwhile")
			}
			return
		default:
		}
		// One folder for both files, as a program does which wants them to belong together.
		version, err := filepath.EvalSymlinks(filepath.Join(folder, volume.DataLink))
		if err != nil {
			continue // it was swapped while it was followed
		}
		a, errA := os.ReadFile(filepath.Join(version, "a"))
		b, errB := os.ReadFile(filepath.Join(version, "b"))
		if errA != nil || errB != nil {
			continue // it was removed meanwhile
		}
		if !bytes.Equal(a, b) || len(a) == 0 {
			t.Fatalf("a is %q and b is %q", a, b)
		}
		reads++
	}
}

func TestFilesFollowTheSecret(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, files := range []map[string][]byte{
		{"a": []byte("1"), "b": []byte("1")},
		{"b": []byte("2"), "c": []byte("2")},
		{},
	} {
		if err := volume.Write(folder, files); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(files, filesIn(t, folder)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if left, err := filepath.Glob(filepath.Join(folder, "..2*")); err != nil || len(left) != 1 {
		t.Errorf("folders left: %v, %v; want the one in use", left, err)
	}
}

// filesIn are the files that a program sees in a mount.
func filesIn(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	files, err := volume.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
