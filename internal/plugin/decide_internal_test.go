package plugin

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// A link comes from a status: what is no link for a browser is not opened.
func TestLinks(t *testing.T) {
	t.Parallel()
	for link, good := range map[string]bool{
		"https://oauth.example.com/connect?ticket=abc":           true,
		"https://oauth.example.com:8443/connect":                 true,
		"http://127.0.0.1:8082/connect":                          true,
		"http://localhost:8082/connect":                          true,
		"http://[::1]:8082/connect":                              true,
		"http://oauth.example.com/connect":                       false,
		"http://127.0.0.1.evil.example/connect":                  false,
		"http://localhost.evil.example/connect":                  false,
		"HTTPS://oauth.example.com/":                             true,
		"file:///etc/passwd":                                     false,
		"javascript:alert(1)":                                    false,
		"https:opaque":                                           false,
		"https:///connect":                                       false,
		"https://user:password@oauth.example.com/":               false,
		"//oauth.example.com/":                                   false,
		"--help":                                                 false,
		"":                                                       false,
		"https://oauth.example.com/$(reboot)`x`":                 false,
		"https://oauth.example.com/\x1b]0;x\a":                   false,
		"https://oauth.example.com/\u202egnp.exe":                false,
		"https://oauth.example.com/ https://b.example/":          false,
		"https://oauth.example.com/\nx":                          false,
		"x-apple-systempreferences:com.apple":                    false,
		"https://oauth.example.com/%zz":                          false,
		"https://oauth.example.com/oauth/connect?ticket=AQ_x-9~": true,
		"https://oauth.example.com/connect?ticket=a&calc":        false,
		"https://oauth.example.com/connect?ticket=$(calc)":       false,
		"https://oauth.example.com/connect?ticket=a;b":           false,
		"https://oauth.example.com/connect?ticket=%PATH%":        false,
		"https://oauth.example.com/connect?ticket=a|b^c":         false,
		"https://\u043eauth.example.com/connect":                 false, // the first letter is a Cyrillic one
		"https://oauth.example.com@evil.example/connect":         false,
		"\\\\share\\program":                                     false,
	} {
		if err := checkLink(link); (err == nil) != good {
			t.Errorf("%q: %v, want it to be good: %t", link, err, good)
		}
	}
}

// The program that opens a link is known beforehand, is no shell, and gets the link as one word.
func TestWhichProgramOpensALink(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		system      string
		environment map[string]string
		want        string
	}{
		"macOS":                  {"darwin", nil, "open"},
		"Windows":                {"windows", nil, "rundll32 url.dll,FileProtocolHandler"},
		"Linux with X":           {"linux", map[string]string{"DISPLAY": ":0"}, "xdg-open"},
		"Linux with Wayland":     {"linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"},
		"Linux within Windows":   {"linux", map[string]string{"WSL_DISTRO_NAME": "Debian"}, "wslview"},
		"Linux without a screen": {"linux", map[string]string{"BROWSER": "sh -c"}, ""},
	} {
		if got := strings.Join(opener(c.system, func(name string) string { return c.environment[name] }), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"acme": "acme", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(reboot)": "'$(reboot)'", "a;b": "'a;b'", "k=v": "k=v", "--patch={}": "'--patch={}'", "~": "'~'", "größer": "'größer'",
	} {
		if got := quote(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}

// A command that a message prints is typed again only if it is about this account, or its client, and is what the reason asks for:
// a message may quote what others have written.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	account := sampleAccount("acme", func(account *v1alpha1.ConnectedAccount) {
		account.Spec.ClientRef.Namespace = "platform"
		account.Status.BoundTo.AccountUID, account.Status.Identity = "old", "ada o'neil"
	})
	const annotate = "x: kubectl annotate --overwrite "
	for name, c := range map[string]struct{ reason, message, want string }{
		"a label":                     {"SecretNotConsented", "If it is meant for it: kubectl label secret -n shop mine oauth-operator.dev/credential=true", "kubectl label secret -n shop mine oauth-operator.dev/credential=true"},
		"another host":                {"EndpointChanged", annotate + "oauthclient -n platform bills oauth-operator.dev/accept-origin=https://a:1,https://b:2", "kubectl annotate --overwrite oauthclient -n platform bills oauth-operator.dev/accept-origin=https://a:1,https://b:2"},
		"another host with a command": {"EndpointChanged", annotate + "oauthclient -n platform bills oauth-operator.dev/accept-origin=$(reboot)", "kubectl annotate --overwrite oauthclient -n platform bills 'oauth-operator.dev/accept-origin=$(reboot)'"},
		"a quoted value":              {"ApprovalRequired", annotate + `connectedaccount -n shop acme oauth-operator.dev/approve='ada o'\''neil'. If it is`, `kubectl annotate --overwrite connectedaccount -n shop acme 'oauth-operator.dev/approve=ada o'\''neil'`},
		"another person":              {"ApprovalRequired", annotate + `connectedaccount -n shop acme oauth-operator.dev/approve='mallory'`, ""},
		"an earlier account":          {"CredentialFromElsewhere", annotate + "connectedaccount -n shop acme oauth-operator.dev/adopt=old", "kubectl annotate --overwrite connectedaccount -n shop acme oauth-operator.dev/adopt=old"},
		"another account's":           {"CredentialFromElsewhere", annotate + "connectedaccount -n shop acme oauth-operator.dev/adopt=other", ""},
		"a second grant":              {"Authorized", annotate + "connectedaccount -n shop acme oauth-operator.dev/replace-grant=3", "kubectl annotate --overwrite connectedaccount -n shop acme oauth-operator.dev/replace-grant=3"},
		"no number of a grant":        {"Authorized", annotate + "connectedaccount -n shop acme oauth-operator.dev/replace-grant=x", ""},
		"another reason":              {"ScopeReduced", annotate + "connectedaccount -n shop acme oauth-operator.dev/replace-grant=3", ""},
		"what the reason asks not":    {"ApprovalRequired", annotate + "connectedaccount -n shop acme oauth-operator.dev/replace-grant=3", ""},
		"another client":              {"EndpointChanged", annotate + "oauthclient -n platform other oauth-operator.dev/accept-origin=https://a:1", ""},
		"another host for a Secret":   {"SecretNotConsented", annotate + "secret -n shop mine oauth-operator.dev/hosts=evil.example", ""},
		"another namespace":           {"SecretNotConsented", "x: kubectl label secret -n kube-system mine oauth-operator.dev/credential=true", ""},
		"another's annotation":        {"SecretNotConsented", annotate + "secret -n shop mine example.com/x=true", ""},
		"another kind":                {"SecretNotConsented", "x: kubectl label pod -n shop mine oauth-operator.dev/credential=true", ""},
		"another verb":                {"SecretNotConsented", "x: kubectl delete secret -n shop mine", ""},
		"more than one":               {"SecretNotConsented", "x: kubectl label secret -n shop mine oauth-operator.dev/credential=true; reboot", ""},
		"no command":                  {"Authorized", "the account holds a refresh token", ""},
		"a name that is an option":    {"SecretNotConsented", "x: kubectl label secret -n shop --all oauth-operator.dev/credential=true", ""},
		"a namespace with a command":  {"SecretNotConsented", "x: kubectl label secret -n $(reboot) mine oauth-operator.dev/credential=true", ""},
	} {
		status := metav1.ConditionFalse
		if c.reason == "Authorized" {
			status = metav1.ConditionTrue
		}
		got, is := printedIn(account, &metav1.Condition{Status: status, Reason: c.reason, Message: c.message})
		if !is && c.want != "" || is && got.command() != c.want {
			t.Errorf("%s: %q, %t, want %q", name, got.command(), is, c.want)
		}
	}
}

// What approves of one person approves of no other, and is what the operator takes for them.
func TestApproves(t *testing.T) {
	t.Parallel()
	for c, want := range map[[2]string]bool{
		{"ada", "ada"}: true, {"consent/3", ""}: true, {"name/consent/3", "consent/3"}: true, {"name/name/x", "name/x"}: true,
		{"consent/3", "consent/3"}: false, {"ada", ""}: false, {"consent/", ""}: false, {"consent/3x", ""}: false, {"ada", "bob"}: false,
	} {
		if got := approves(c[0], c[1]); got != want {
			t.Errorf("%q approves of %q: %t", c[0], c[1], got)
		}
	}
}

// A line that labels a Secret is proposed only for one that the account, or its client, names: whoever has it labelled lets the
// operator read it.
func TestDoctorLabelsNobodyElsesSecret(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"bills-client": true, "root-password": false} {
		line := "kubectl label secret -n shop " + name + " oauth-operator.dev/credential=true"
		f := &accountFacts{
			account: sampleAccount("bills", failed("Authorized", "SecretNotConsented", "If it is meant for it: "+line, metav1.ConditionFalse)),
			owner:   sampleClient(),
			sources: []source{{
				reference: reference{SecretKeyReference: v1alpha1.SecretKeyReference{Name: "bills-client", Key: "client_secret"}, namespace: "shop"},
				unread:    &missingRightError{right: right{verb: "get", resource: "secrets"}},
			}},
		}
		found := examine(f, present()).Findings[0]
		if got := slices.Contains(found.Commands, line); got != want {
			t.Errorf("%s: %v", name, found.Commands)
		}
	}
}

// What mends a Secret takes the value as it is, whatever characters are in it, and has it go nowhere else than the client sends it.
func TestCommandsForASecret(t *testing.T) {
	t.Parallel()
	ref := reference{SecretKeyReference: v1alpha1.SecretKeyReference{Name: "mine", Key: "client_secret"}, namespace: "shop", use: "CLIENT_SECRET", path: "authentication.clientSecretRef"}
	token := ref
	token.path, token.Key = importPath, "refresh_token"
	const encoded = ` | base64 | tr -d '\n' | sed 's|.*|{"data":{"client_secret":"&"}}|' | kubectl -n shop patch secret mine --type=merge --patch-file=/dev/stdin`
	const hosts = "kubectl annotate --overwrite secret -n shop mine oauth-operator.dev/hosts="
	for name, c := range map[string]struct {
		source source
		want   string
	}{
		"nothing in it":             {source{reference: ref, labelled: true, empty: true}, `printf %s "$CLIENT_SECRET"` + encoded},
		"a newline":                 {source{reference: ref, labelled: true, newline: true}, `kubectl -n shop get secret mine '--output=go-template={{index .data "client_secret" | base64decode}}' | tr -d '\r\n'` + encoded},
		"nobody may receive it":     {source{reference: token, labelled: true}, hosts + "provider.example"},
		"others may receive it":     {source{reference: ref, labelled: true, limited: true, hosts: []string{"other.example"}}, hosts + "other.example,provider.example"},
		"it may be received":        {source{reference: token, labelled: true, limited: true, hosts: []string{"Provider.Example:443"}}, ""},
		"anybody may receive it":    {source{reference: ref, labelled: true}, ""},
		"a child may receive it":    {source{reference: token, labelled: true, limited: true, hosts: []string{"a.provider.example"}}, hosts + "a.provider.example,provider.example"},
		"another port is not meant": {source{reference: token, labelled: true, limited: true, hosts: []string{"provider.example:8443"}}, hosts + "provider.example:8443,provider.example"},
	} {
		got := strings.Join(c.source.commands(&accountFacts{account: sampleAccount("acme"), owner: sampleClient()}), "\n")
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

// A value gets into its Secret as it is, whatever a shell, JSON or sed would make of what is in it.
func TestAValueStaysAsItIs(t *testing.T) {
	t.Parallel()
	named := reference{SecretKeyReference: v1alpha1.SecretKeyReference{Name: "mine", Key: "client_secret"}, namespace: "shop", use: "CLIENT_SECRET"}
	command := source{reference: named, labelled: true, empty: true}.commands(&accountFacts{account: sampleAccount("acme")})[0]
	typed, _, found := strings.Cut(command, " | kubectl ")
	if !found {
		t.Fatal(command)
	}
	for _, value := range []string{"plain", `"quoted"`, `back\slash\n`, "100%s", "a&b|c", "it's $(reboot) `x`", strings.Repeat("long", 100)} {
		shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", typed)
		shell.Env = append(os.Environ(), "CLIENT_SECRET="+value)
		output, err := shell.Output()
		if err != nil {
			t.Fatal(err)
		}
		var patch struct {
			Data map[string][]byte `json:"data"`
		}
		if err := json.Unmarshal(output, &patch); err != nil || string(patch.Data["client_secret"]) != value {
			t.Errorf("%q becomes %s: %v", value, output, err)
		}
	}
}

// reasons are those of the API, with the names of their constants.
func reasons(t *testing.T) map[string]string {
	t.Helper()
	found := constants(t, filepath.Join("..", "..", "api", "v1alpha1", "conditions.go"), "Reason")
	if len(found) < 40 {
		t.Fatalf("found only %d reasons", len(found))
	}
	return found
}

// constants are the texts in a file whose names begin so.
func constants(t *testing.T, path, begin string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, is := node.(*ast.ValueSpec)
		if !is || len(spec.Values) == 0 || !strings.HasPrefix(spec.Names[0].Name, begin) {
			return true
		}
		if literal, is := spec.Values[0].(*ast.BasicLit); is {
			found[spec.Names[0].Name], _ = strconv.Unquote(literal.Value)
		}
		return true
	})
	return found
}

// Doctor knows who has to act on each reason of the API that something is wrong with.
func TestEveryReasonHasAnActor(t *testing.T) {
	t.Parallel()
	well := []string{"TokenValid", "ClientReady", "NotRequired", "Authorized", "Refreshed", "Published", "Accepted", "Resolved", "Ready", "Progressing", "Waiting"}
	for name, reason := range reasons(t) {
		if got := actor(reason); (got == "") != slices.Contains(well, reason) {
			t.Errorf("%s: who acts is %q", name, got)
		}
	}
}

// Where a reason has several causes, the one who can change what the message says has to act: nothing goes on by itself where the
// operator may not go.
func TestWhoActsOnAnUnreachableServer(t *testing.T) {
	t.Parallel()
	said := constants(t, filepath.Join("..", "oauth", "errors.go"), "reason")
	for name, want := range map[string]string{
		"reasonPrivate": actorPlatform, "reasonLoopback": actorPlatform, "reasonNever": actorClient, "reasonName": actorClient, "reasonUnknownCA": actorClient,
		"reasonWrongHost": actorClient, "reasonCertificate": actorClient, "reasonHandshake": actorClient, "reasonEndpoint": actorClient, "reasonPlaintext": actorClient,
		"reasonExpired": actorNobody, "reasonConnect": actorNobody, "reasonNoAnswer": actorNobody,
	} {
		message := said[name]
		if message == "" {
			t.Fatalf("there is no %s any more", name)
		}
		f := &accountFacts{account: sampleAccount("acme", failed("Refreshed", "ServerUnreachable", "the token request could not be sent: "+message, metav1.ConditionTrue))}
		found := examine(f, present()).Findings[0]
		if found.Actor != want || (found.Level == levelNote) != (want == actorNobody) {
			t.Errorf("%s: %s, who acts: %s, want %s", message, found.Level, found.Actor, want)
		}
	}
}

// Without a link nobody can consent, and that is not the account's owner's to mend.
func TestWhoActsWithoutALink(t *testing.T) {
	t.Parallel()
	ways, err := os.ReadFile(filepath.Join("..", "lifecycle", "consent.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"the operator was started without --consent-url, so that there is no link to follow", "the keyring has no usable keys for links"} {
		if !strings.Contains(string(ways), message) {
			t.Fatalf("nothing says %q any more", message)
		}
		f := &accountFacts{account: sampleAccount("acme", failed("Authorized", "AuthorizationRequired", "nobody has consented yet: "+message, metav1.ConditionFalse))}
		if got := examine(f, present()).Findings[0]; got.Actor != actorPlatform {
			t.Errorf("%s: who acts: %s", message, got.Actor)
		}
	}
}

// Whoever waits for a person, and sees the provider's error page in place of a question, is told what the provider must know.
func TestDoctorNamesTheRedirectURI(t *testing.T) {
	t.Parallel()
	f := &accountFacts{account: waiting(), owner: sampleClient(func(owner *v1alpha1.OAuthClient) {
		owner.Status.RedirectURI = "https://oauth.example.com/callback/shop/bills"
	})}
	found := examine(f, present()).Findings[0]
	if !strings.Contains(found.Message, "exactly: https://oauth.example.com/callback/shop/bills") || !slices.Equal(found.Commands, []string{"kubectl oauth authorize -n shop acme"}) {
		t.Errorf("%+v", found)
	}
}

// A keyring that is there is not overwritten: what is in it may have sealed something.
func TestDoctorAndTheKeyring(t *testing.T) {
	t.Parallel()
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, keyringName)
	for name, c := range map[string]struct {
		installed *installationFacts
		commands  int
		says      string
	}{
		"it is gone":          {change(running(), func(f *installationFacts) { f.keyring.err = gone }), 1, "is missing"},
		"it has other keys":   {running(), 0, "keep a copy of it before"},
		"nobody may see that": {change(running(), func(f *installationFacts) { f.keyring.err = errors.New("no") }), 1, "is missing"},
	} {
		f := &accountFacts{installed: c.installed, account: sampleAccount("acme", failed("Authorized", "KeyringMissing", "the keyring Secret, or the key in it, is missing", metav1.ConditionTrue))}
		if found := examine(f, present()).Findings[0]; len(found.Commands) != c.commands || !strings.Contains(found.Message, c.says) || found.Actor != actorPlatform {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// An operator that works on some namespaces looks at no account of another one, and doctor can see which they are.
func TestDoctorKnowsTheWatchedNamespaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arguments []string
		want      bool
	}{
		"all":              {[]string{"--leader-elect"}, false},
		"this one":         {[]string{"--watch-namespaces=shop,billing"}, false},
		"others":           {[]string{"--leader-elect", "--watch-namespaces=billing,crm"}, true},
		"in two arguments": {[]string{"-watch-namespaces", "billing"}, true},
		"nothing after it": {[]string{"--watch-namespaces"}, false},
	} {
		installed := running()
		installed.operator.object.Spec.Template.Spec.Containers[0].Args = c.arguments
		found := examine(&accountFacts{account: sampleAccount("acme"), installed: installed}, present()).Findings[0]
		if got := found.What == "watched namespaces" && found.Level == levelFault; got != c.want {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// Doctor looks for the policies that the installation has.
func TestThePoliciesAreThoseOfTheInstallation(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "policies", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var installed []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?s)kind: ValidatingAdmissionPolicy\nmetadata:\n  name: (\S+)`).FindAllStringSubmatch(string(text), -1) {
			installed = append(installed, found[1])
		}
	}
	slices.Sort(installed)
	if got := policies(); !slices.Equal(got, installed) {
		t.Errorf("doctor looks for %v, installed are %v", got, installed)
	}
}

func TestWhoWorks(t *testing.T) {
	t.Parallel()
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "x"}, "x")
	for name, c := range map[string]struct {
		spoil func(*installationFacts)
		want  level
		says  string
	}{
		"a replica with the lease": {func(*installationFacts) {}, levelOK, "2 of 2 replicas are ready; oauth-operator-7d9c6b5f4-x2k8p holds the lease, renewed 2s ago"},
		"a clock that is a bit ahead": {func(f *installationFacts) {
			f.lease.object.Spec.RenewTime = &metav1.MicroTime{Time: present().Add(20 * time.Second)}
		}, levelOK, "renewed 0s ago"},
		"a clock that is wrong": {func(f *installationFacts) {
			f.lease.object.Spec.RenewTime = &metav1.MicroTime{Time: present().Add(10 * time.Minute)}
		}, levelWarning, "is wrong by 10m"},
		"a clock that is a bit slow": {func(f *installationFacts) {
			f.lease.object.Spec.RenewTime = &metav1.MicroTime{Time: present().Add(-time.Minute)}
		}, levelOK, ""},
		"a lease that has run out": {func(f *installationFacts) {
			f.lease.object.Spec.RenewTime = &metav1.MicroTime{Time: present().Add(-2 * time.Minute)}
		}, levelFault, "nobody works"},
		"no lease":                 {func(f *installationFacts) { f.lease.err = gone }, levelFault, "nobody holds the lease"},
		"a lease without a holder": {func(f *installationFacts) { f.lease.object.Spec.HolderIdentity = new("") }, levelFault, "nobody holds the lease"},
		"nothing at all":           {func(f *installationFacts) { f.lease.err, f.operator.err = gone, gone }, levelFault, "there is no Deployment"},
		"a process outside":        {func(f *installationFacts) { f.operator.object.Status.ReadyReplicas = 0 }, levelNote, "it runs elsewhere"},
		"what one may not see": {func(f *installationFacts) {
			f.lease.err = &missingRightError{right: right{verb: "get", resource: "leases"}}
		}, levelUnknown, "you may not get leases"},
		"what cannot be reached": {func(f *installationFacts) { f.operator.err = errors.New("connection refused") }, levelUnknown, "connection refused"},
	} {
		f := running()
		c.spoil(f)
		if got := working(f, present()); got.Level != c.want || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %s %q, want %s %q", name, got.Level, got.Message, c.want, c.says)
		}
	}
}

func TestConsentPages(t *testing.T) {
	t.Parallel()
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "x"}, "x")
	for name, c := range map[string]struct {
		spoil func(*installationFacts)
		want  level
		says  string
	}{
		"all there":     {func(*installationFacts) {}, levelOK, "https://oauth.example.com, 2 replicas ready"},
		"not installed": {func(f *installationFacts) { f.settings.err, f.consent.err = gone, gone }, levelNote, "not installed"},
		"no public URL": {func(f *installationFacts) { f.settings.object.Data = nil }, levelFault, "public URL"},
		"no Deployment": {func(f *installationFacts) { f.consent.err = gone }, levelFault, "no Deployment"},
		"no Service":    {func(f *installationFacts) { f.consentFinder.err = gone }, levelFault, "no Service"},
		"no keys":       {func(f *installationFacts) { f.consentKeys.err = gone }, levelFault, "no Secret"},
		"nobody is ready": {func(f *installationFacts) {
			f.consent.object.Status.ReadyReplicas = 0
		}, levelFault, "none of their replicas"},
		"another version": {func(f *installationFacts) {
			f.consent.object.Spec.Template.Spec.Containers[0].Image = "other"
		}, levelWarning, "they belong together"},
		"not to be seen": {func(f *installationFacts) {
			f.consentKeys.err = &missingRightError{right: right{verb: "get", resource: "secrets"}}
		}, levelUnknown, "you may not"},
	} {
		f := running()
		c.spoil(f)
		if got := consentPages(f, present()); got.Level != c.want || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %s %q, want %s %q", name, got.Level, got.Message, c.want, c.says)
		}
	}
}

func TestPoliciesThatDoNotDenyAreMissing(t *testing.T) {
	t.Parallel()
	f := running()
	f.policies, f.bindings = map[string]seen[*admissionv1.ValidatingAdmissionPolicy]{}, map[string]seen[*admissionv1.ValidatingAdmissionPolicyBinding]{}
	bind := func(name string, actions ...admissionv1.ValidationAction) {
		f.bindings[name] = seen[*admissionv1.ValidatingAdmissionPolicyBinding]{object: &admissionv1.ValidatingAdmissionPolicyBinding{
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: actions},
		}}
	}
	for _, name := range policies() {
		bind(name, admissionv1.Deny)
	}
	if got := guards(f, present()); got.Level != levelOK {
		t.Errorf("all are there: %+v", got)
	}
	bind("status.oauth-operator.dev", admissionv1.Warn)
	if got := guards(f, present()); got.Level != levelFault || !strings.Contains(got.Message, "status.oauth-operator.dev (its binding does not deny)") {
		t.Errorf("one only warns: %+v", got)
	}
}

// A refresh is asked for with a time that asks for something, whatever this machine's clock says.
func TestTheTimeOfARequestIsAfterTheLastToken(t *testing.T) {
	t.Parallel()
	account := sampleAccount("acme")
	for name, c := range map[string]struct {
		now, last time.Duration
		want      time.Duration
	}{
		"a good clock":    {0, -10 * time.Minute, 0},
		"a slow clock":    {-time.Hour, -10 * time.Minute, -10*time.Minute + time.Second},
		"the same second": {0, 0, time.Second},
	} {
		account.Status.LastRefreshTime = after(c.last)
		if got := requestTime(account, present().Add(c.now+300*time.Millisecond)); !got.Equal(present().Add(c.want)) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What somebody has said yes to is written on the version that was looked at, and no other; a request for a token on that account.
func TestAnnotationsAreForWhatWasRead(t *testing.T) {
	t.Parallel()
	account := sampleAccount("acme", func(account *v1alpha1.ConnectedAccount) { account.ResourceVersion = "7" })
	for got, want := range map[string]string{
		string(annotation(account, "a", "b")):       `{"metadata":{"annotations":{"a":"b"},"resourceVersion":"7","uid":"uid-of-it"}}`,
		string(annotationOf(account.UID, "a", "b")): `{"metadata":{"annotations":{"a":"b"},"uid":"uid-of-it"}}`,
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestWhatCameOfARefresh(t *testing.T) {
	t.Parallel()
	before := sampleAccount("acme", func(account *v1alpha1.ConnectedAccount) { account.ResourceVersion = "1" })
	for name, c := range map[string]struct {
		change func(*v1alpha1.ConnectedAccount)
		want   string
	}{
		"nothing yet": {func(*v1alpha1.ConnectedAccount) {}, ""},
		"a new token": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.LastRefreshTime, a.Status.Rotations = after(time.Second), 43
		}, "Refreshed"},
		"an old token": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.LastRefreshTime, a.Status.Rotations = after(-time.Second), 43
		}, ""},
		"not yet written": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.LastRefreshTime, a.Status.Rotations = after(time.Second), 43
			setCondition(a, "Published", metav1.ConditionFalse, "Pending", "")
		}, ""},
		"a failure": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.Failures = v1alpha1.Failures{Count: 1, LastFailureTime: after(time.Second)}
			failed("Refreshed", "ServerUnreachable", "no connection", metav1.ConditionTrue)(a)
		}, "ServerUnreachable"},
		"suspended":                          {failed("Refreshed", "Suspended", "spec.suspend holds back", metav1.ConditionTrue), "Suspended"},
		"a dead grant":                       {failed("Authorized", "RefreshTokenLost", "lost", metav1.ConditionTrue), "RefreshTokenLost"},
		"fewer scopes, which is no obstacle": {failed("Authorized", "ScopeReduced", "fewer", metav1.ConditionTrue), ""},
	} {
		account := before.DeepCopy()
		account.ResourceVersion = "2"
		c.change(account)
		got := ""
		if result := refreshOutcome(before, account, present(), present()); result != nil {
			got = result.Outcome
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatThereIsToAccept(t *testing.T) {
	t.Parallel()
	annotate := "kubectl annotate --overwrite "
	for name, c := range map[string]struct {
		change     func(*v1alpha1.ConnectedAccount)
		key, value string
	}{
		"a restored account": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.BoundTo.AccountUID = "old"
			failed("Authorized", "CredentialFromElsewhere", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/adopt=old", metav1.ConditionFalse)(a)
		}, "oauth-operator.dev/adopt", "old"},
		"a restored account whose message says something else": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.BoundTo.AccountUID = "old"
			failed("Authorized", "CredentialFromElsewhere", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/adopt=other", metav1.ConditionFalse)(a)
		}, "", ""},
		"another host":   {failed("Authorized", "EndpointChanged", "x: "+annotate+"oauthclient -n shop bills oauth-operator.dev/accept-origin=https://b.example:443", metav1.ConditionTrue), "oauth-operator.dev/accept-origin", "https://b.example:443"},
		"another client": {failed("Authorized", "EndpointChanged", "put the identifier back", metav1.ConditionTrue), "", ""},
		"an approval": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.Identity = "ada o'neil"
			failed("Authorized", "ApprovalRequired", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/approve='ada o'\\''neil'. If it is", metav1.ConditionFalse)(a)
		}, "oauth-operator.dev/approve", "ada o'neil"},
		"an approval of somebody else than is shown": {func(a *v1alpha1.ConnectedAccount) {
			a.Status.Identity = "ada"
			failed("Authorized", "ApprovalRequired", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/approve='mallory'", metav1.ConditionFalse)(a)
		}, "", ""},
		"a second grant": {func(a *v1alpha1.ConnectedAccount) {
			setCondition(a, "Authorized", metav1.ConditionTrue, "Authorized", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/replace-grant=3")
		}, "oauth-operator.dev/replace-grant", "3"},
		"the deletion of an account":    {failed("Authorized", "X", "x: "+annotate+"connectedaccount -n shop acme oauth-operator.dev/allow-delete=acme", metav1.ConditionFalse), "", ""},
		"something about another":       {failed("Authorized", "X", "x: "+annotate+"connectedaccount -n shop other oauth-operator.dev/replace-grant=3", metav1.ConditionFalse), "", ""},
		"nothing at all":                {func(*v1alpha1.ConnectedAccount) {}, "", ""},
		"what only a new consent mends": {failed("Authorized", "RefreshTokenLost", "lost", metav1.ConditionFalse), "", ""},
	} {
		got, err := acceptanceOf(sampleAccount("acme", c.change))
		if got.key != c.key || got.value != c.value || (err == nil) != (c.key != "") {
			t.Errorf("%s: %s=%s, %v", name, got.key, got.value, err)
		}
	}
}

func TestWhatADoctorSaysOfARefusal(t *testing.T) {
	t.Parallel()
	ending := metav1.NewTime(present().Add(time.Minute))
	tokenless := func(a *v1alpha1.ConnectedAccount) {
		a.Status.ExpirationTime, a.Status.ConsentDueTime = &ending, &ending
		setCondition(a, "Authorized", metav1.ConditionTrue, "Authorized", "there is no refresh token")
	}
	refused := failed("Authorized", "RefreshTokenRejected", "follow the link", metav1.ConditionTrue)
	for name, c := range map[string]struct {
		changes []func(*v1alpha1.ConnectedAccount)
		want    []string // level, what, actor
	}{
		"a refused refresh token is said once": {
			[]func(*v1alpha1.ConnectedAccount){refused, failed("Refreshed", "RequestRejected", "invalid_grant", metav1.ConditionTrue)},
			[]string{"warning RefreshTokenRejected " + actorOwner},
		},
		"a refused request is the client's": {
			[]func(*v1alpha1.ConnectedAccount){failed("Refreshed", "RequestRejected", "invalid_scope", metav1.ConditionFalse)},
			[]string{"fault RequestRejected " + actorClient},
		},
		"a certificate is the client's owner's to mend": {
			[]func(*v1alpha1.ConnectedAccount){failed("Refreshed", "ServerUnreachable", "the certificate of the token endpoint is not trusted; name the authority in tls.caRef", metav1.ConditionFalse)},
			[]string{"fault ServerUnreachable " + actorClient},
		},
		"a consent that ends with its token": {[]func(*v1alpha1.ConnectedAccount){tokenless}, []string{"warning no refresh token " + actorClient}},
	} {
		var got []string
		for _, one := range examine(&accountFacts{account: sampleAccount("acme", c.changes...), owner: sampleClient()}, present()).Findings {
			got = append(got, string(one.Level)+" "+one.What+" "+one.Actor)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, change := range map[string]func(*v1alpha1.ConnectedAccount){"refused": refused, "none": tokenless} {
		if next := viewOf(sampleAccount("acme", change), present()).refreshCell(present()).text; next != "-" {
			t.Errorf("a refresh token that is %s is to be used %s", name, next)
		}
	}
}

// The commands share an app, and each has a wait of its own.
func TestHowLongACommandWaits(t *testing.T) {
	for _, test := range []struct {
		line string
		want time.Duration
	}{
		{"authorize acme", 15 * time.Minute},
		{"refresh acme", 2 * time.Minute},
		{"import acme", 2 * time.Minute},
		{"adopt acme", 2 * time.Minute},
		{"authorize acme --timeout=90s", 90 * time.Second},
		{"refresh acme --timeout=0", 0},
	} {
		t.Run(test.line, func(t *testing.T) {
			a := &app{}
			root := newRoot(a)
			arguments := strings.Fields(test.line)
			command, _, err := root.Find(arguments)
			if err != nil {
				t.Fatal(err)
			}
			got := time.Duration(-1)
			command.RunE = func(*cobra.Command, []string) error {
				got = a.timeout
				return nil
			}
			root.SetArgs(arguments)
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("it waits for %s, want %s", got, test.want)
			}
		})
	}
}

// An error is printed as one line, so nothing in it may count on a line of its own.
func TestWhatIsNotAskedIsSaidInOneLine(t *testing.T) {
	account := &v1alpha1.ConnectedAccount{}
	account.Namespace, account.Name = "shop", "acme"
	account.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionAuthorized, Status: metav1.ConditionFalse, Reason: "AuthorizationRequired", Message: "have the person follow the link"},
	}
	want := "there is nothing to say yes to. The account says AuthorizationRequired: have the person follow the link; see kubectl oauth doctor -n shop acme"
	if got := nothingAsked(account).Error(); got != want || clean(got) != got {
		t.Errorf("got %q, want %q", got, want)
	}
}
