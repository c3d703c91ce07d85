package plugin_test

import (
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/plugin"
)

func (p *place) reread(object client.Object) {
	p.t.Helper()
	if err := p.admin.Get(p.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) update(object client.Object) {
	p.t.Helper()
	if err := p.admin.Update(p.t.Context(), object); err != nil {
		p.t.Fatal(err)
	}
}

// asksFor has an account ask that its refresh tokens may go to another host.
func asksFor(origin string) func(*v1alpha1.ConnectedAccount) {
	return func(account *v1alpha1.ConnectedAccount) {
		condition(account, v1alpha1.ConditionAuthorized, metav1.ConditionFalse, v1alpha1.ReasonEndpointChanged,
			"If "+origin+" may have it: kubectl annotate --overwrite oauthclient -n "+account.Namespace+" bills oauth-operator.dev/accept-origin="+origin)
	}
}

// asked begins to adopt an account, and waits until somebody is asked.
func (p *place) asked(name string, arguments ...string) (*run, io.Writer) {
	p.t.Helper()
	in, answer := io.Pipe()
	r := p.starts(func(system *plugin.System) { system.In, system.InTerminal = in, true }, append([]string{"adopt", name}, arguments...)...)
	r.errs.until("Type yes to go on: ")
	return r, answer
}

func say(t *testing.T, to io.Writer, what string) {
	t.Helper()
	if _, err := io.WriteString(to, what+"\n"); err != nil {
		t.Fatal(err)
	}
}

// Whoever says yes says it to what was shown. If the account asks something else by then, nothing is done.
func TestAYesIsForWhatWasShown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	owner := p.client()
	origin := "https://provider.example:443"
	for name, c := range map[string]struct {
		before, meanwhile func(*v1alpha1.ConnectedAccount)
		shown             string
	}{
		"another-person": {
			func(account *v1alpha1.ConnectedAccount) { approval(account, "ada") },
			func(account *v1alpha1.ConnectedAccount) { approval(account, "mallory") }, "the access of ada",
		},
		"another-host": {asksFor(origin), asksFor("https://evil.example:443"), origin},
		"nothing": {asksFor(origin), func(account *v1alpha1.ConnectedAccount) {
			condition(account, v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonAuthorized, "well")
		}, origin},
	} {
		account := p.account(name, c.before)
		r, answer := p.asked(name)
		if !strings.Contains(r.errs.all(), c.shown) {
			t.Errorf("%s: %q is not shown: %s", name, c.shown, r.errs.all())
		}
		p.status(account, c.meanwhile)
		say(t, answer, "yes")
		r.ends(plugin.ExitFailed)
		r.errs.until("asks something else than it did a moment ago, and nothing was done")
		p.reread(account)
		p.reread(owner)
		if len(account.Annotations)+len(owner.Annotations) > 0 {
			t.Errorf("%s: %v and %v are written", name, account.Annotations, owner.Annotations)
		}
	}
}

// An account that was deleted and made again while somebody thought about it gets no answer that was meant for the earlier one.
func TestAYesIsForTheAccountThatWasShown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	ada := func(account *v1alpha1.ConnectedAccount) { approval(account, "ada") }
	account := p.account("acme", ada)
	r, answer := p.asked("acme")
	if err := p.admin.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	again := p.account("acme", ada)
	say(t, answer, "yes")
	r.ends(plugin.ExitFailed)
	p.reread(again)
	if len(again.Annotations) > 0 {
		t.Errorf("%v is written", again.Annotations)
	}
}

func approval(account *v1alpha1.ConnectedAccount, identity string) {
	account.Status.Identity = identity
	condition(account, v1alpha1.ConditionAuthorized, metav1.ConditionFalse, v1alpha1.ReasonApprovalRequired,
		"x: kubectl annotate --overwrite connectedaccount -n "+account.Namespace+" "+account.Name+" oauth-operator.dev/approve='"+identity+"'")
}

// Whoever lets another host have refresh tokens takes back nothing that somebody else has decided while they were asked.
func TestAYesKeepsWhatOthersHaveAccepted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	owner := p.client()
	account := p.account("acme", asksFor("https://provider.example:443"))
	r, answer := p.asked("acme", "--timeout=0")
	owner.Annotations = map[string]string{v1alpha1.AnnotationAcceptOrigin: "https://another.example:443"}
	p.update(owner)
	account.Annotations = map[string]string{"somebody.example/has": "written"}
	p.update(account)
	say(t, answer, "yes")
	r.ends(plugin.ExitDone)
	p.reread(owner)
	if got := owner.Annotations[v1alpha1.AnnotationAcceptOrigin]; got != "https://another.example:443,https://provider.example:443" {
		t.Errorf("accepted are %s", got)
	}
}

// An account that speaks of another host than its client has, as where a message is not the operator's, is not believed.
func TestAHostThatTheClientDoesNotNameIsNotAccepted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	owner := p.client()
	p.account("acme", asksFor("https://evil.example:443"))
	r := p.starts(nil, "adopt", "acme", "--yes")
	r.ends(plugin.ExitWrong)
	r.errs.until("its client's token endpoint is at https://provider.example:443")
	p.reread(owner)
	if len(owner.Annotations) > 0 {
		t.Errorf("%v is written", owner.Annotations)
	}
}

// Nobody answers: an interruption ends it all the same.
func TestAQuestionCanBeInterrupted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.client()
	p.account("acme", asksFor("https://provider.example:443"))
	r, _ := p.asked("acme")
	r.stop()
	r.ends(plugin.ExitInterrupted)

	in, _ := io.Pipe()
	r = p.starts(func(system *plugin.System) { system.In = in }, "import", "acme", "--host", "provider.example")
	r.stop()
	r.ends(plugin.ExitInterrupted)
}

// The Secret of a refresh token says who may have it. Where it names others than the client, or holds a token that nobody has
// taken over, nothing is written before somebody says so.
func TestWhatTheSecretOfARefreshTokenKeeps(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.client()
	for name, c := range map[string]struct {
		hosts, imported, holds string
		arguments              []string
		code                   int
		says, wantHosts        string
	}{
		"new":          {code: plugin.ExitDone, wantHosts: "provider.example"},
		"empty":        {holds: "-", code: plugin.ExitDone, wantHosts: "provider.example"},
		"others":       {hosts: "other.example", code: plugin.ExitWrong, says: "goes to other.example, and the client sends it to provider.example: if that may have it, say --host provider.example", wantHosts: "other.example"},
		"others-too":   {hosts: "other.example,provider.example", code: plugin.ExitDone, wantHosts: "other.example,provider.example"},
		"others-named": {hosts: "other.example", arguments: []string{"--host", "provider.example"}, code: plugin.ExitDone, wantHosts: "provider.example"},
		"waiting":      {holds: "earlier", code: plugin.ExitWrong, says: "which no account has taken over yet"},
		"taken":        {holds: "earlier", imported: "somebody", code: plugin.ExitWrong, says: "which was taken over: to put another one into it, say --replace"},
		"replaced":     {holds: "earlier", arguments: []string{"--replace"}, code: plugin.ExitDone, wantHosts: "provider.example"},
		"no-host":      {arguments: []string{"--host", "https://provider.example/x"}, code: plugin.ExitUsage, says: "is no host"},
	} {
		account, secret := p.account(name), p.source(name, c.hosts, c.imported, c.holds)
		r := p.starts(func(system *plugin.System) { system.In = strings.NewReader("a-refresh-token\n") }, append([]string{"import", account.Name, "--timeout=0"}, c.arguments...)...)
		r.ends(c.code)
		if !strings.Contains(r.errs.all(), c.says) || strings.Contains(r.errs.all()+r.out.all(), "a-refresh-token") {
			t.Errorf("%s: %q is not said, or too much is: %s", name, c.says, r.errs.all())
		}
		if err := client.IgnoreNotFound(p.admin.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)); err != nil {
			t.Fatal(err)
		}
		if got := secret.Annotations[v1alpha1.AnnotationHosts]; got != c.wantHosts {
			t.Errorf("%s: it may go to %q, want %q", name, got, c.wantHosts)
		}
		if got := string(secret.Data["refresh_token"]); (got == "a-refresh-token") != (c.code == plugin.ExitDone) {
			t.Errorf("%s: it holds %q", name, got)
		}
	}
}

// source makes the Secret of a refresh token, if anything is to be on it or in it; "-" stands for nothing in it.
func (p *place) source(account, hosts, imported, holds string) *corev1.Secret {
	p.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: account + "-import", Labels: map[string]string{v1alpha1.LabelCredential: "true"}}}
	for annotation, value := range map[string]string{v1alpha1.AnnotationHosts: hosts, v1alpha1.AnnotationImported: imported} {
		if value != "" {
			metav1.SetMetaDataAnnotation(&secret.ObjectMeta, annotation, value)
		}
	}
	if holds != "-" {
		secret.StringData = map[string]string{"refresh_token": holds}
	}
	if holds != "" || hosts != "" {
		if err := p.admin.Create(p.t.Context(), secret); err != nil {
			p.t.Fatal(err)
		}
	}
	return secret
}
