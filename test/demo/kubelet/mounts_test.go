package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/test/volume"
)

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
	files, err := volume.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
