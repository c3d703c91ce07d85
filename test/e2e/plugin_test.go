package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/internal/plugin"
	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

const (
	consentSample = "smartbills-connected"
	deniedSample  = "smartbusiness-connected"
)

// desk is where somebody sits who uses kubectl oauth: with a kubeconfig of their own.
type desk struct {
	t          *testing.T
	kubeconfig string
	// screen: they have a terminal.
	screen bool
	// follow is what they do with a link.
	follow func(ctx context.Context, link string) error
}

// printed is what a command has printed, and how it ended.
type printed struct {
	out, err string
	code     int
}

func (d *desk) types(input string, arguments ...string) printed {
	d.t.Helper()
	var out, errs bytes.Buffer
	open := d.follow
	if open == nil {
		open = func(context.Context, string) error { d.t.Error("a link was opened"); return nil }
	}
	code := plugin.Run(d.t.Context(), append(arguments, "--kubeconfig", d.kubeconfig, "-n", stage.Namespace), plugin.System{
		In: strings.NewReader(input), Out: &out, Err: &errs, OutTerminal: d.screen, Size: func() (int, int) { return 100, 40 }, Open: open, Clock: clock.RealClock{},
		Getenv: func(name string) string { return map[string]string{"TERM": "xterm"}[name] },
	})
	return printed{out.String(), errs.String(), code}
}

// wants checks how a command ended, and that it said so.
func (p printed) wants(t *testing.T, code int, words ...string) {
	t.Helper()
	if p.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", p.code, code, p.out, p.err)
	}
	for _, word := range words {
		if !strings.Contains(p.out+p.err, word) {
			t.Errorf("%q is not said:\n%s%s", word, p.out, p.err)
		}
	}
}

// kubectl oauth with the real operator: as the user of a namespace, as an administrator, and as somebody who may do nothing.
func TestKubectlOAuth(t *testing.T) { //nolint:tparallel // one after the other: each goes on from what the one before has left
	t.Parallel()
	played := stagetest.Play(t, stage.Options{Consent: true})
	operator := start(t, played, stage.OperatorOptions{Pages: true})
	samples, err := played.ApplySamples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplyImports(t.Context(), stage.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplyConsents(t.Context(), stage.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	published(t, played, append(names(samples), smartbillsImport, smartBusinessImport)...)
	kubeconfig, err := played.Kubeconfig(t.Context(), stage.Namespace, stage.Developer)
	if err != nil {
		t.Fatal(err)
	}
	developer := &desk{t: t, kubeconfig: kubeconfig}

	t.Run("authorize", func(t *testing.T) { authorizes(t, played, developer) })
	t.Run("status", func(t *testing.T) { showsStatus(t, developer) })
	t.Run("token", func(t *testing.T) { printsToken(t, played, developer, samples[0].Name) })
	t.Run("rights", func(t *testing.T) { namesRights(t, played) })
	t.Run("import", func(t *testing.T) { imports(t, played, developer) })
	t.Run("adopt", func(t *testing.T) { adopts(t, played, developer) })
	t.Run("refresh", func(t *testing.T) { refreshes(t, developer, samples[0].Name) })
	t.Run("doctor", func(t *testing.T) { examines(t, played, developer) })
	if err := operator.Stop(); err != nil { // which would put a status right
		t.Fatal(err)
	}
	t.Run("hostile text", func(t *testing.T) { strips(t, played, developer) })
}

// authorizes has one customer consent, and another one refuse.
func authorizes(t *testing.T, played *stage.Stage, at *desk) {
	t.Helper()
	for account, c := range map[string]struct {
		press, outcome string
		code           int
	}{
		consentSample: {"allow", "Connected", plugin.ExitDone},
		deniedSample:  {"deny", "Denied", plugin.ExitWrong},
	} {
		here := &desk{t: t, kubeconfig: at.kubeconfig, follow: func(ctx context.Context, link string) error {
			customer, err := person.New(person.Options{
				CAFiles: []string{played.Front.CAFile, played.Provider.CAFile}, Fields: map[string]string{"login": "ada"}, Press: c.press,
			})
			if err != nil {
				return err
			}
			defer customer.Close()
			_, err = customer.Follow(ctx, link)
			return err
		}}
		result := here.types("", "authorize", account)
		result.wants(t, c.code, c.outcome, played.Front.URL+"/connect?")
		if strings.Contains(result.out, "/connect?") {
			t.Errorf("the link is among the results:\n%s", result.out)
		}
	}
	at.types("", "authorize", smartbillsImport).wants(t, plugin.ExitWrong, "nobody's consent is needed")
}

func showsStatus(t *testing.T, at *desk) {
	t.Helper()
	at.types("", "status", consentSample).wants(t, plugin.ExitDone, "NAME", consentSample, "TokenValid")
	var all struct {
		Accounts []struct {
			Name      string `json:"name"`
			Reason    string `json:"reason"`
			Ready     bool   `json:"ready"`
			Rotations int    `json:"rotations"`
		} `json:"accounts"`
	}
	result := at.types("", "status", "-o", "json")
	if err := json.Unmarshal([]byte(result.out), &all); err != nil {
		t.Fatal(err, result.err)
	}
	ready := 0
	for _, account := range all.Accounts {
		if account.Ready && account.Rotations > 0 {
			ready++
		}
	}
	if len(all.Accounts) != 8 || ready != 7 {
		t.Errorf("%d accounts, %d of them ready, want 8 and 7:\n%s", len(all.Accounts), ready, result.out)
	}
	at.types("", "status", "-l", "nobody=has-it").wants(t, plugin.ExitDone, "there are no accounts in the namespace "+stage.Namespace)
	at.types("", "status", "nobody").wants(t, plugin.ExitFailed, "there is no ConnectedAccount nobody in the namespace "+stage.Namespace)
	at.types("", "status", "-l", "=").wants(t, plugin.ExitUsage, "selector")
	at.types("", "status", "-o", "xml").wants(t, plugin.ExitUsage, "json or yaml")
	screen := &desk{t: t, kubeconfig: at.kubeconfig, screen: true}
	screen.types("", "status").wants(t, plugin.ExitDone, "\x1b[31mAuthorizationDenied", "kubectl oauth doctor -n shop "+deniedSample)
}

func printsToken(t *testing.T, played *stage.Stage, at *desk, account string) {
	t.Helper()
	secret, err := played.Secret(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	result := at.types("", "token", account)
	result.wants(t, plugin.ExitDone)
	if result.out != string(secret.Data["headers"]) || result.err != "" || !strings.HasPrefix(result.out, "Authorization: Bearer ") && !strings.HasPrefix(result.out, "authorization: Bearer ") {
		t.Errorf("what is printed for curl is not what the Secret has for it, or something is said beside it: %d bytes, %q", len(result.out), result.err)
	}
	screen := &desk{t: t, kubeconfig: at.kubeconfig, screen: true}
	if result := screen.types("", "token", account); !strings.Contains(result.err, "warning: whoever sees this screen") {
		t.Errorf("nobody is warned on a terminal: %q", result.err)
	}
	at.types("", "token", deniedSample).wants(t, plugin.ExitWrong, "there is no Secret")
}

// namesRights asks as somebody who may do nothing, and as somebody who may only view.
func namesRights(t *testing.T, played *stage.Stage) {
	t.Helper()
	for _, arguments := range [][]string{
		{"create", "serviceaccount", "viewer", "--namespace=" + stage.Namespace},
		{"create", "serviceaccount", "stranger", "--namespace=" + stage.Namespace},
		{"create", "rolebinding", "viewer", "--clusterrole=oauth-operator-view", "--serviceaccount=" + stage.Namespace + ":viewer", "--namespace=" + stage.Namespace},
	} {
		if _, err := played.Kubectl(t.Context(), admin(played), arguments...); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) *desk {
		kubeconfig, err := played.Kubeconfig(t.Context(), stage.Namespace, name)
		if err != nil {
			t.Fatal(err)
		}
		return &desk{t: t, kubeconfig: kubeconfig}
	}
	stranger, viewer := as("stranger"), as("viewer")
	const group = ".oauth-operator.dev"
	stranger.types("", "status").wants(t, plugin.ExitForbidden,
		"you may not list connectedaccounts"+group+" in the namespace shop (you are system:serviceaccount:shop:stranger): ask for the role view")
	stranger.types("", "status", consentSample).wants(t, plugin.ExitForbidden, "you may not get connectedaccounts"+group+" "+consentSample)
	stranger.types("", "doctor").wants(t, plugin.ExitForbidden, "you may not list connectedaccounts"+group)
	viewer.types("", "status").wants(t, plugin.ExitDone, consentSample)
	viewer.types("", "status", "-A").wants(t, plugin.ExitForbidden, "you may not list connectedaccounts"+group+" in all namespaces", "name a namespace with -n")
	viewer.types("", "refresh", consentSample).wants(t, plugin.ExitForbidden, "you may not patch connectedaccounts"+group, "the role edit")
	viewer.types("", "token", consentSample).wants(t, plugin.ExitForbidden, "you may not get secrets "+consentSample, "the role edit")
	viewer.types("planted-refresh-token", "import", smartbillsImport, "--replace").wants(t, plugin.ExitForbidden, "you may not get secrets")
	viewer.types("", "doctor", deniedSample).wants(t, plugin.ExitWrong, "AuthorizationDenied", "kubectl oauth authorize -n shop "+deniedSample)
}

// imports hands a refresh token over, and then another one.
func imports(t *testing.T, played *stage.Stage, at *desk) {
	t.Helper()
	manifest := filepath.Join(played.Dir, "handed-over.yaml")
	text := `{apiVersion: oauth-operator.dev/v1alpha1, kind: ConnectedAccount, metadata: {name: handed-over}, spec: {clientRef: {name: smartbills-customers},
		grant: {type: AuthorizationCode}, importRefreshTokenRef: {name: handed-over-token, key: refresh_token}}}`
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at.types("token", "import", consentSample).wants(t, plugin.ExitWrong, "the account imports nothing")
	// Whoever names a Secret in an account must be allowed to read it, there or not.
	if _, err := played.Kubectl(t.Context(), at.kubeconfig, "apply", "--namespace="+stage.Namespace, "--filename="+manifest); err != nil {
		t.Fatal(err)
	}
	at.types("", "import", "handed-over").wants(t, plugin.ExitUsage, "there is no refresh token on standard input")
	at.types("two words\n", "import", "handed-over").wants(t, plugin.ExitUsage, "is no refresh token")
	for _, arguments := range [][]string{{"import", "handed-over"}, {"import", "handed-over", "--replace"}} {
		granted, err := played.Provider.Grant(t.Context(), "demo-smartbills-customers", "grace")
		if err != nil {
			t.Fatal(err)
		}
		first := !slices.Contains(arguments, "--replace")
		result := at.types(granted.RefreshToken+"\n", arguments...)
		if first {
			result.wants(t, plugin.ExitDone, "Imported", "delete secret handed-over-token")
			at.types("another", "import", "handed-over").wants(t, plugin.ExitWrong, "say --replace")
		} else {
			result.wants(t, plugin.ExitWrong, "Waiting", "kubectl oauth adopt -n shop handed-over")
			at.types("", "adopt", "handed-over").wants(t, plugin.ExitUsage, "its present grant will be given up", "--yes")
			at.types("", "adopt", "handed-over", "--yes").wants(t, plugin.ExitDone, "Accepted")
		}
		if strings.Contains(result.out+result.err, granted.RefreshToken) {
			t.Error("the refresh token is printed")
		}
	}
	nothingLost(t, played, 0)
}

// adopts restores an account with its status, which nobody may use until somebody says so.
func adopts(t *testing.T, played *stage.Stage, at *desk) {
	t.Helper()
	status, err := played.Kubectl(t.Context(), admin(played), "get", "connectedaccount", "handed-over", "--namespace="+stage.Namespace,
		`--output=go-template={"status":{"sealedCredential":"{{.status.sealedCredential}}","boundTo":{"clusterID":"{{.status.boundTo.clusterID}}","accountUID":"{{.status.boundTo.accountUID}}"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	manifest, patch := filepath.Join(played.Dir, "handed-over.yaml"), filepath.Join(played.Dir, "handed-over.json")
	if err := os.WriteFile(patch, []byte(status), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"delete", "secret", "handed-over-token"},
		{"annotate", "connectedaccount", "handed-over", "oauth-operator.dev/allow-delete=handed-over"},
		{"delete", "connectedaccount", "handed-over", "--wait"},
		{"apply", "--filename=" + manifest},
		{"patch", "connectedaccount", "handed-over", "--subresource=status", "--type=merge", "--patch-file=" + patch},
		{"wait", "connectedaccount/handed-over", "--for=jsonpath={.status.conditions[?(@.type==\"Authorized\")].reason}=CredentialFromElsewhere", "--timeout=60s"},
	} {
		if _, err := played.Kubectl(t.Context(), admin(played), append(arguments, "--namespace="+stage.Namespace)...); err != nil {
			t.Fatal(err)
		}
	}
	at.types("", "doctor", "handed-over").wants(t, plugin.ExitWrong, "CredentialFromElsewhere", "kubectl oauth adopt -n shop handed-over")
	at.types("", "adopt", "handed-over", "--yes").wants(t, plugin.ExitDone, "two that hold one refresh token spend each other's", "Accepted")
	nothingLost(t, played, 0)
}

func refreshes(t *testing.T, at *desk, account string) {
	t.Helper()
	at.types("", "refresh", account).wants(t, plugin.ExitDone, "asked for a new token", "Refreshed", "it is the account's token number 2")
	at.types("", "refresh", deniedSample).wants(t, plugin.ExitWrong, "AuthorizationDenied")
}

// examines looks as the user of the namespace, and as an administrator.
func examines(t *testing.T, played *stage.Stage, at *desk) {
	t.Helper()
	at.types("", "doctor", consentSample).wants(t, plugin.ExitDone, "nothing is wrong")
	at.types("", "doctor").wants(t, plugin.ExitWrong, "not looked at: you may not get leases", "account shop/"+deniedSample, "who acts: the account's owner")
	root := &desk{t: t, kubeconfig: admin(played)}
	root.types("", "doctor", consentSample).wants(t, plugin.ExitDone)
	whole := root.types("", "doctor")
	whole.wants(t, plugin.ExitWrong, "both kinds are served, with all fields", "all 9 are in force", "holds the lease", "it runs elsewhere", "the Secret oauth-operator-keyring is there", "1 fault")

	if _, err := played.Kubectl(t.Context(), admin(played), "delete", "validatingadmissionpolicybinding", "status.oauth-operator.dev"); err != nil {
		t.Fatal(err)
	}
	root.types("", "doctor", consentSample).wants(t, plugin.ExitWrong, "what protects statuses and Secrets is not there: status.oauth-operator.dev", "kubectl apply -k config/default")
}

// strips has a status say what could do something to a terminal, or to whoever reads it.
func strips(t *testing.T, played *stage.Stage, at *desk) {
	t.Helper()
	hostile := "\x1b]0;owned\a\x1b[2J\u009b31mfine\u202e\u2066 really"
	operations := []map[string]string{
		{"op": "add", "path": "/status/identity", "value": hostile}, {"op": "add", "path": "/status/authorizationURL", "value": "file:///etc/passwd"},
	}
	for i := range 5 { // an account has at least so many conditions
		operations = append(operations, map[string]string{"op": "replace", "path": fmt.Sprintf("/status/conditions/%d/message", i), "value": hostile})
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(played.Dir, "hostile.json")
	if err := os.WriteFile(file, []byte(escaped(string(patch))), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := played.Kubectl(t.Context(), admin(played), "patch", "connectedaccount", deniedSample, "--namespace="+stage.Namespace, "--subresource=status", "--type=json", "--patch-file="+file); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"status", "-o", "json"}, {"status", "-o", "yaml"}, {"doctor", deniedSample, "-o", "json"}, {"status"}, {"doctor", deniedSample}, {"authorize", deniedSample}} {
		result := at.types("", arguments...)
		text := result.out + result.err
		if at := strings.IndexFunc(text, func(each rune) bool { return each != '\n' && (unicode.IsControl(each) || unicode.Is(unicode.Cf, each)) }); at >= 0 {
			t.Errorf("%v prints %q", arguments, text[at:min(at+20, len(text))])
		}
	}
	at.types("", "status", "-o", "json").wants(t, plugin.ExitDone, "fine really")
	at.types("", "authorize", deniedSample).wants(t, plugin.ExitWrong, "is not opened: it names no host")
}

// escaped writes JSON in ASCII: kubectl takes no other control characters.
func escaped(text string) string {
	var ascii strings.Builder
	for _, each := range text {
		if each > unicode.MaxASCII {
			fmt.Fprintf(&ascii, "\\u%04x", each)
			continue
		}
		ascii.WriteRune(each)
	}
	return ascii.String()
}
