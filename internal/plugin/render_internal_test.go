package plugin

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

var updateGolden = flag.Bool("update", false, "write what is printed into testdata instead of comparing it") //nolint:gochecknoglobals // a test binary has no other place for a flag

// present is when all of this happens.
func present() time.Time { return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) }

func after(span time.Duration) *metav1.Time { return &metav1.Time{Time: present().Add(span)} }

func change[T any](object T, changes ...func(T)) T {
	for _, each := range changes {
		each(object)
	}
	return object
}

// sampleAccount is one that works, unless it is changed.
func sampleAccount(name string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	account := &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-of-it", Generation: 1, CreationTimestamp: *after(-time.Hour)},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: "bills"}, Grant: v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode},
		},
		Status: v1alpha1.ConnectedAccountStatus{
			ExpirationTime: after(50 * time.Minute), NextRefreshTime: after(30 * time.Minute), LastRefreshTime: after(-10 * time.Minute), Rotations: 42,
		},
	}
	for _, kind := range []string{"ClientReady", "Authorized", "Refreshed", "Published"} {
		setCondition(account, kind, metav1.ConditionTrue, kind, "")
	}
	setCondition(account, "Ready", metav1.ConditionTrue, "TokenValid", "the Secret holds a token that has not expired")
	return change(account, changes...)
}

func setCondition(account *v1alpha1.ConnectedAccount, kind string, status metav1.ConditionStatus, reason, message string) {
	conditions := &account.Status.Conditions
	*conditions = slices.DeleteFunc(*conditions, func(each metav1.Condition) bool { return each.Type == kind })
	*conditions = append(*conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: account.Generation})
}

// failed has a condition fail, and Ready with it, whether there is a token or not.
func failed(kind, reason, message string, ready metav1.ConditionStatus) func(*v1alpha1.ConnectedAccount) {
	return func(account *v1alpha1.ConnectedAccount) {
		setCondition(account, kind, metav1.ConditionFalse, reason, message)
		setCondition(account, "Ready", ready, reason, message)
		if ready == metav1.ConditionFalse {
			account.Status.ExpirationTime, account.Status.NextRefreshTime, account.Status.Rotations = nil, nil, 0
		}
	}
}

const needsConsent = "nobody has consented yet, or the grant has ended: have the person follow the link in status.authorizationURL"

func waiting() *v1alpha1.ConnectedAccount {
	return sampleAccount("acme", failed("Authorized", "AuthorizationRequired", needsConsent, metav1.ConditionFalse), func(account *v1alpha1.ConnectedAccount) {
		account.Status.AuthorizationURL = "https://oauth.example.com/connect?ticket=AQxk7mYw0pZ3vT9bq1f8c2Rr6uJd5sLh"
	})
}

func sampleViews() []accountView {
	accounts := []*v1alpha1.ConnectedAccount{
		waiting(),
		sampleAccount("bills-of-the-whole-company"),
		sampleAccount("crm", failed("Refreshed", "ServerUnreachable", "the token request could not be sent: the connection was refused; it is made again", metav1.ConditionTrue)),
		sampleAccount("ledger", func(account *v1alpha1.ConnectedAccount) { account.Status.ExpirationTime = after(-3 * time.Minute) }),
		sampleAccount("stripe", func(account *v1alpha1.ConnectedAccount) {
			account.Status.ExpirationTime, account.Status.NextRefreshTime, account.Status.Rotations = nil, nil, 0
			account.Spec.Grant.Type, account.Spec.ClientRef = v1alpha1.GrantAPIKey, v1alpha1.ClientReference{}
		}),
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "yet-unseen"}},
	}
	var views []accountView
	for _, account := range accounts {
		views = append(views, viewOf(account, present()))
	}
	return views
}

// sampleClient is the client of sampleAccount.
func sampleClient(changes ...func(*v1alpha1.OAuthClient)) *v1alpha1.OAuthClient {
	return change(&v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bills", Generation: 1},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: "https://provider.example/oauth/token"}, Scopes: []v1alpha1.Scope{"invoices"}, //nolint:gosec // a URL
			Grants: []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode}, Authentication: v1alpha1.Authentication{ClientSecretRef: v1alpha1.SecretKeyReference{Name: "bills-client", Key: "client_secret"}},
		},
	}, changes...)
}

// unready is a client with a condition that is False.
func unready(kind, reason, message string) func(*v1alpha1.OAuthClient) {
	return func(owner *v1alpha1.OAuthClient) {
		owner.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
	}
}

func running() *installationFacts {
	f := &installationFacts{minor: 36, version: "v1.36.3"}
	f.operator.object = &appsv1.Deployment{
		Spec:   appsv1.DeploymentSpec{Replicas: new(int32(2)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.example/oauth-operator:dev"}}}}},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 2},
	}
	f.lease.object = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("oauth-operator-7d9c6b5f4-x2k8p"), LeaseDurationSeconds: new(int32(15)), RenewTime: &metav1.MicroTime{Time: present().Add(-2 * time.Second)},
	}}
	f.settings.object = &corev1.ConfigMap{Data: map[string]string{"url": "https://oauth.example.com"}}
	f.consent.object = f.operator.object.DeepCopy()
	return f
}

// sampleDiagnosis is of an installation with a fault, and of accounts.
func sampleDiagnosis() diagnosis {
	f := running()
	f.lease.object.Spec.RenewTime = &metav1.MicroTime{Time: present().Add(-9 * time.Minute)}
	f.operator.object.Status.ReadyReplicas = 0
	broken := &accountFacts{
		account: sampleAccount("bills", failed("ClientReady", "ClientNotReady", "the OAuthClient is not ready: SecretNotConsented: ...", metav1.ConditionFalse)),
		owner: sampleClient(unready("ResolvedRefs", "SecretNotConsented",
			"the operator may not read the Secret bills-client. If it is meant for it: kubectl label secret -n shop bills-client oauth-operator.dev/credential=true")),
		sources: []source{{reference: reference{SecretKeyReference: v1alpha1.SecretKeyReference{Name: "bills-client", Key: "client_secret"}, namespace: "shop"}}},
	}
	return diagnosis{Sections: []section{
		{About: "oauth-operator in oauth-operator-system", Findings: []finding{
			versions(f, present()), working(f, present()), consentPages(f, present()),
			withoutSight("policies", &missingRightError{right: right{verb: "get", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicies"}}),
		}},
		examine(&accountFacts{account: waiting(), owner: sampleClient()}, present()),
		examine(broken, present()),
		examine(&accountFacts{account: sampleAccount("crm")}, present()),
	}}
}

// scenes are what is printed to a person, by the name of the picture and of the golden files.
func scenes() map[string]func(painter) string {
	return map[string]func(painter) string{
		"status": func(p painter) string { return renderStatus(p, sampleViews(), false, present()) },
		"authorize": func(p painter) string {
			kept := sampleAccount("acme")
			return invitation(waiting()) + "\n" + renderOutcome(p, outcome{
				Account: viewOf(kept, present()), Outcome: "Connected", Message: "the access of ada@customer.example is kept; " + viewOf(kept, present()).token(present()),
			})
		},
		"doctor": func(p painter) string {
			all := sampleDiagnosis()
			return renderDiagnosis(p, all) + "\n" + p.paint(bold, all.summary()) + "\n"
		},
		"everywhere": func(p painter) string { return renderStatus(p, sampleViews()[:2], true, present()) },
		"denied": func(p painter) string {
			return renderOutcome(p, outcome{
				Account: viewOf(waiting(), present()), Outcome: "Denied", code: ExitWrong,
				Message: "the access was denied at the provider (access_denied)", Commands: []string{own("doctor", waiting())},
			})
		},
	}
}

// What is printed is in testdata: as a pipe gets it, as a terminal does, and as one does that wants no colours.
func TestWhatIsPrinted(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes() {
		for kind, p := range map[string]painter{"pipe": {}, "terminal": {width: 100, colours: true}, "narrow": {width: 60}} {
			t.Run(name+" to a "+kind, func(t *testing.T) {
				t.Parallel()
				got := scene(p)
				checkGolden(t, filepath.Join("testdata", name+"."+kind), got)
				if kind != "terminal" && strings.Contains(got, "\x1b") {
					t.Error("it has a sequence of a terminal in it")
				}
			})
		}
	}
}

// checkGolden compares with a file, or writes it.
func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("go test ./internal/plugin -update writes it anew (-want +got):\n%s", diff)
	}
}

// A terminal gets colours unless it cannot have them, or its user does not want any; a pipe never.
func TestWhoGetsColours(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		terminal    bool
		environment map[string]string
		want        painter
	}{
		"a terminal":                          {true, map[string]string{"TERM": "xterm"}, painter{colours: true, width: 80}},
		"a terminal whose user wants none":    {true, map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, painter{width: 80}},
		"a terminal that can show none":       {true, map[string]string{"TERM": "dumb"}, painter{width: 80}},
		"a terminal of which nothing is said": {true, nil, painter{width: 80}},
		"a pipe":                              {false, map[string]string{"TERM": "xterm"}, painter{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &app{system: System{OutTerminal: c.terminal, Size: func() (int, int) { return 80, 24 }, Getenv: func(name string) string { return c.environment[name] }}}
			if got := a.painter(); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// No line of a table is wider than the terminal, as long as there is anything left to cut.
func TestATableFitsItsTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{80, 90, 120} {
		for text := range strings.Lines(statusTable(painter{width: width}, sampleViews(), true, present())) {
			if got := length(strings.TrimSuffix(text, "\n")); got > width {
				t.Errorf("a line of %d characters in a terminal of %d: %s", got, width, text)
			}
		}
	}
}
