package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAReaderSeesOldOrNewAndNothingBetween(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(n int) {
		content := []byte(strconv.Itoa(n))
		if err := writeMount(folder, map[string][]byte{"a": content, "b": content}); err != nil {
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
		version, err := filepath.EvalSymlinks(filepath.Join(folder, dataLink))
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
		if err := writeMount(folder, files); err != nil {
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

func TestWhatIsWrittenIsTheLatest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		end := make(chan struct{})
		mounts := newMounts(end, settings{mounts: map[string]string{"token": folder}, maxDelay: 2 * time.Second}, io.Discard)
		secret := func(version, content string) *corev1.Secret {
			return &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "token", ResourceVersion: version},
				Data:       map[string][]byte{"headers": []byte(content)},
			}
		}
		mounts.changed(secret("1", "first"))
		mounts.changed(secret("2", "second"))
		mounts.changed(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string][]byte{"x": nil}})
		if got := filesIn(t, folder); len(got) > 0 {
			t.Errorf("written at once: %v", got)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		if diff := cmp.Diff(map[string][]byte{"headers": []byte("second")}, filesIn(t, folder)); diff != "" {
			t.Errorf("after the delay (-want +got):\n%s", diff)
		}
		mounts.changed(secret("3", "third"))
		close(end)
		if err := mounts.wait(); err != nil {
			t.Error(err)
		}
	})
}

// filesIn are the files that a program sees in a mount.
func filesIn(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if len(entry.Name()) > 2 && entry.Name()[:2] == ".." {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is a link to nothing", entry.Name())
		} else if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = content
	}
	return files
}
