package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/plugin"
	"github.com/oauth-operator/oauth-operator/test/cluster"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// patience is how long tests wait for what must come.
const patience = time.Minute

// shared is the API server of all tests that need one; the first of them starts it. No operator runs: what the statuses say is
// the tests' own.
var shared struct {
	once    sync.Once
	cluster *cluster.Cluster
	admin   client.Client
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if folder, err := built(); wasBuilt && err == nil {
		_ = os.RemoveAll(folder)
	}
	if shared.cluster != nil {
		if err := shared.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// place is a namespace of the API server, and the kubeconfig of whoever works there.
type place struct {
	t          *testing.T
	admin      client.Client
	namespace  string
	kubeconfig string
}

// newPlace makes the namespace of a test.
func newPlace(t *testing.T) *place {
	t.Helper()
	stagetest.Assets(t)
	shared.once.Do(func() { shared.err = startCluster() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	p := &place{t: t, admin: shared.admin}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "plugin-"}}
	if err := p.admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	p.namespace = namespace.Name
	p.kubeconfig = p.kubeconfigFor(shared.cluster.Admin)
	return p
}

func startCluster() (err error) {
	scheme := clientgoscheme.Scheme
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	shared.cluster, err = cluster.Start(context.Background(), cluster.Options{Manifests: []string{filepath.Join("..", "..", "config", "crd")}})
	if err != nil {
		return err
	}
	shared.admin, err = client.New(shared.cluster.Admin, client.Options{Scheme: scheme})
	return err
}

func (p *place) kubeconfigFor(config *rest.Config) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), "kubeconfig")
	if err := shared.cluster.WriteKubeconfig(path, config); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// account makes an account whose status says that it has a good token, unless it is changed.
func (p *place) account(name string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	p.t.Helper()
	account := &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: "bills"}, Grant: v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode},
			ImportRefreshTokenRef: v1alpha1.SecretKeyReference{Name: name + "-import", Key: "refresh_token"},
		},
	}
	if err := p.admin.Create(p.t.Context(), account); err != nil {
		p.t.Fatal(err)
	}
	p.status(account, func(account *v1alpha1.ConnectedAccount) {
		expires := metav1.NewTime(time.Now().Add(time.Hour))
		account.Status.ExpirationTime, account.Status.Rotations = &expires, 1
		condition(account, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid, "the Secret holds a token that has not expired")
		for _, change := range changes {
			change(account)
		}
	})
	return account
}

// client makes the accounts' client.
func (p *place) client() *v1alpha1.OAuthClient {
	p.t.Helper()
	owner := &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "bills"},
		Spec: v1alpha1.OAuthClientSpec{
			ClientID: "bills", Endpoints: v1alpha1.Endpoints{Token: "https://provider.example/token"}, //nolint:gosec // a URL
			Authentication: v1alpha1.Authentication{Method: v1alpha1.ClientSecretPost, ClientSecretRef: v1alpha1.SecretKeyReference{Name: "bills-client", Key: "client_secret"}}, Grants: []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode},
		},
	}
	if err := p.admin.Create(p.t.Context(), owner); err != nil {
		p.t.Fatal(err)
	}
	return owner
}

// status has the status of an account say something else, as the operator would.
func (p *place) status(account *v1alpha1.ConnectedAccount, change func(*v1alpha1.ConnectedAccount)) {
	p.t.Helper()
	change(account)
	if err := p.admin.Status().Update(p.t.Context(), account); err != nil {
		p.t.Fatal(err)
	}
}

func condition(account *v1alpha1.ConnectedAccount, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&account.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: account.Generation,
	})
}

// run is a command that is carried out.
type run struct {
	out, errs *feed
	stop      context.CancelFunc
	code      chan int
}

// starts begins a command.
func (p *place) starts(change func(*plugin.System), arguments ...string) *run {
	p.t.Helper()
	ctx, stop := context.WithCancel(p.t.Context())
	r := &run{out: newFeed(p.t), errs: newFeed(p.t), stop: stop, code: make(chan int, 1)}
	system := plugin.System{
		In: strings.NewReader(""), Out: r.out, Err: r.errs, Clock: clock.RealClock{},
		Getenv: func(name string) string { return map[string]string{"TERM": "xterm", "NO_COLOR": "1"}[name] },
		Open:   func(context.Context, string) error { return errors.New("there is no screen here") },
	}
	if change != nil {
		change(&system)
	}
	go func() {
		r.code <- plugin.Run(ctx, append(arguments, "--kubeconfig", p.kubeconfig, "-n", p.namespace), system)
	}()
	p.t.Cleanup(stop)
	return r
}

// ends waits until the command ends, and wants that code.
func (r *run) ends(want int) {
	r.out.t.Helper()
	select {
	case got := <-r.code:
		if got != want {
			r.out.t.Fatalf("exit code %d, want %d\n%s\n%s", got, want, r.out.all(), r.errs.all())
		}
	case <-time.After(patience):
		r.out.t.Fatalf("it does not end\n%s\n%s", r.out.all(), r.errs.all())
	}
}

// feed is what a command prints, which a test waits for.
type feed struct {
	t    *testing.T
	lock sync.Mutex
	text string
	read int
	more chan struct{}
}

func newFeed(t *testing.T) *feed { t.Helper(); return &feed{t: t, more: make(chan struct{}, 1)} }

func (f *feed) Write(text []byte) (int, error) {
	f.lock.Lock()
	f.text += string(text)
	f.lock.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
	return len(text), nil
}

func (f *feed) all() string {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.text
}

// take is what was printed up to the end of a text, if that is there.
func (f *feed) take(text string) (string, bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	begin := f.read
	at := strings.Index(f.text[begin:], text)
	if at < 0 {
		return "", false
	}
	f.read += at + len(text)
	return f.text[begin:f.read], true
}

// until waits for a text that was not waited for before, and returns what comes up to its end.
func (f *feed) until(text string) string {
	f.t.Helper()
	end := time.After(patience)
	for {
		if found, is := f.take(text); is {
			return found
		}
		select {
		case <-f.more:
		case <-end:
			f.t.Fatalf("%q is not printed:\n%s", text, f.all())
		}
	}
}

// line is the next line that is printed.
func (f *feed) line() string { f.t.Helper(); return strings.TrimSuffix(f.until("\n"), "\n") }

// wire is a way to the API server that can be cut.
type wire struct {
	t       *testing.T
	address string
	lock    sync.Mutex
	ear     net.Listener
	open    []net.Conn
}

// newWire leads the place's kubeconfig over a wire.
func (p *place) newWire() *wire {
	p.t.Helper()
	w := &wire{t: p.t, address: "127.0.0.1:0"}
	w.mend()
	p.t.Cleanup(w.cut)
	config := rest.CopyConfig(shared.cluster.Admin)
	config.Host = "https://" + w.address
	p.kubeconfig = p.kubeconfigFor(config)
	return w
}

// mend lets connections through.
func (w *wire) mend() {
	w.t.Helper()
	ear, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.address, w.ear = ear.Addr().String(), ear
	go func() {
		for {
			near, err := ear.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(context.WithoutCancel(w.t.Context()), "tcp", strings.Trim(strings.TrimPrefix(shared.cluster.Admin.Host, "https:"), "/"))
			if err != nil {
				_ = near.Close()
				return
			}
			w.lock.Lock()
			w.open = append(w.open, near, far)
			w.lock.Unlock()
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				}()
			}
		}
	}()
}

// cut ends all connections, and takes no more.
func (w *wire) cut() {
	_ = w.ear.Close()
	w.hangUp()
}

// hangUp ends all connections.
func (w *wire) hangUp() {
	w.lock.Lock()
	defer w.lock.Unlock()
	for _, each := range w.open {
		_ = each.Close()
	}
	w.open = nil
}

var wasBuilt bool // by built

// built is the folder with the plugin and its script for kubectl, as users have it in their PATH.
var built = sync.OnceValues(func() (string, error) {
	wasBuilt = true
	folder, err := os.MkdirTemp("", "kubectl-oauth-")
	if err != nil {
		return "", err
	}
	script := filepath.Join("..", "..", "cmd", "kubectl-oauth", "kubectl_complete-oauth")
	for _, words := range [][]string{
		{"env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", folder, "../../cmd/kubectl-oauth"}, {"install", "-m", "755", script, folder},
	} {
		if output, err := exec.CommandContext(context.Background(), words[0], words[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", words, err, output)
		}
	}
	return folder, nil
})

// folder is where the plugin is built.
func folder(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
