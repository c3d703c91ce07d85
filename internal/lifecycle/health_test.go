package lifecycle_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// health is one row of the table of states: what an account is going through, what Ready says of it, what kstatus and Argo CD
// make of it, and who must act.
type health struct {
	state   string
	account func(f *lifecycle.Facts) lifecycle.Done
	ready   string // status and reason
	pipeline
	acts string
}

// pipeline is what tools that wait for an object make of it: those that go by kstatus, such as Flux and Helm, and Argo CD.
type pipeline struct {
	kstatus status.Status
	argo    string
}

func current() pipeline      { return pipeline{status.CurrentStatus, "Healthy"} }
func progresses() pipeline   { return pipeline{status.InProgressStatus, "Progressing"} }
func awaitsPerson() pipeline { return pipeline{status.InProgressStatus, "Suspended"} }
func degraded() pipeline     { return pipeline{status.FailedStatus, "Degraded"} }

// healthTable holds each state that an account can be in, once with a token that is good, once without, where both can be.
func healthTable() []health {
	var table []health
	table = append(table, quietStates()...)
	table = append(table, clientStates()...)
	table = append(table, credentialStates()...)
	table = append(table, grantStates()...)
	table = append(table, refusalStates()...)
	table = append(table, consentStates()...)
	table = append(table, requestStates()...)
	return append(table, secretStates()...)
}

const (
	nobody   = "nobody"
	owner    = "the account's owner"
	client   = "the client's owner"
	platform = "the platform team"
	provider = "the provider"
	person   = "the person"
)

func then(changes ...func(f *lifecycle.Facts)) func(f *lifecycle.Facts) lifecycle.Done {
	return func(f *lifecycle.Facts) lifecycle.Done {
		for _, change := range changes {
			change(f)
		}
		return lifecycle.Done{}
	}
}

// tokenless takes the token away: the account is new. expired lets it expire.
func tokenless(f *lifecycle.Facts) {
	f.Account.Status, f.Credential, f.Secret = v1alpha1.ConnectedAccountStatus{}, lifecycle.Credential{State: lifecycle.CredentialNone}, lifecycle.SecretAbsent
}

func expired(f *lifecycle.Facts) {
	f.Credential = held(ago(2*time.Hour), ago(time.Hour))
	f.Account.Status.ExpirationTime = when(ago(time.Hour))
}

func quietStates() []health {
	suspend := func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }
	beyond := func(f *lifecycle.Facts) { f.BeyondLimit = true }
	return []health{
		{"all is well", then(), "True TokenValid", current(), nobody},
		{"the token never expires", then(func(f *lifecycle.Facts) { f.Credential = held(ago(time.Hour), time.Time{}) }), "True TokenValid", current(), nobody},
		{"new, before the first request", then(tokenless), "False Pending", progresses(), nobody},
		{"the token has expired, before the next request", then(expired), "False TokenExpired", progresses(), nobody},
		{"the Secret is gone, before it is written again", then(func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }), "False Pending", progresses(), nobody},
		{"suspended, with a token", then(suspend), "True Suspended", current(), nobody},
		{"suspended, and the credential was removed from the status", then(suspend, func(f *lifecycle.Facts) {
			f.Credential, f.Secret = lifecycle.Credential{State: lifecycle.CredentialNone}, lifecycle.SecretStale
		}), "False Suspended", awaitsPerson(), owner},
		{"suspended, without a token", then(expired, suspend), "False Suspended", awaitsPerson(), owner},
		{"a result that cannot be read, with a token", then(unread), "True ResultUnread", current(), platform},
		{"a result that cannot be read, without a token", then(expired, unread), "False ResultUnread", degraded(), platform},
		{"beyond the limit of its namespace, with a token", then(beyond), "True TooManyAccounts", current(), owner},
		{"beyond the limit of its namespace, without a token", then(expired, beyond), "False TooManyAccounts", degraded(), owner},
	}
}

func clientStates() []health {
	missing := func(f *lifecycle.Facts) { f.Client = nil }
	notReady := func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionFalse }
	pending := func(f *lifecycle.Facts) { f.Client.Generation++ }
	forbidden := func(f *lifecycle.Facts) { elsewhere(f); f.Client.Spec.AllowedNamespaces = nil }
	return []health{
		{"no client, with a token", then(missing), "True ClientNotAvailable", current(), owner},
		{"no client, without a token", then(tokenless, missing), "False ClientNotAvailable", progresses(), owner},
		{"a client that the namespace may not use, without a token", then(tokenless, forbidden), "False ClientNotAvailable", progresses(), client},
		{"the client is not ready, with a token", then(notReady), "True ClientNotReady", current(), client},
		{"the client is not ready, without a token", then(expired, notReady), "False ClientNotReady", progresses(), client},
		{"the client is being checked, with a token", then(pending), "True TokenValid", current(), nobody},
		{"the client is being checked, without a token", then(expired, pending), "False ClientNotReady", progresses(), nobody},
	}
}

func credentialStates() []health {
	state := func(state lifecycle.CredentialState) func(f *lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Credential = lifecycle.Credential{State: state} }
	}
	keyring := func(f *lifecycle.Facts) { f.KeyringMissing = true }
	schema := func(f *lifecycle.Facts) { f.SchemaTooOld = true }
	admin := func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"admin"} }
	reduced := func(f *lifecycle.Facts) { f.Credential.Scopes = []string{} }
	exceeded := func(f *lifecycle.Facts) { elsewhere(f); exceeds(f) }
	return []health{
		{"the definition is too old, with a token", then(schema), "True SchemaTooOld", current(), platform},
		{"the definition is too old, without a token", then(tokenless, schema), "False SchemaTooOld", degraded(), platform},
		{"the keyring is missing, with a token", then(state(lifecycle.CredentialKeyMissing), keyring), "True KeyringMissing", current(), platform},
		{"the keyring is missing, without a token", then(tokenless, keyring), "False KeyringMissing", degraded(), platform},
		{"the token was sealed elsewhere", then(tokenless, state(lifecycle.CredentialElsewhere)), "False CredentialFromElsewhere", degraded(), owner},
		{"the credential does not open, its token is still good", then(state(lifecycle.CredentialUnreadable)), "True CredentialUnreadable", current(), owner},
		{"the credential does not open, its token has expired", then(expired, state(lifecycle.CredentialUnreadable)), "False CredentialUnreadable", degraded(), owner},
		{"the credential is of a later version", then(expired, state(lifecycle.CredentialNewerFormat)), "False CredentialUnreadable", degraded(), platform},
		{"a scope is not allowed, with a token", then(admin), "True ScopeNotAllowed", current(), owner},
		{"a scope is not allowed, without a token", then(tokenless, admin), "False ScopeNotAllowed", degraded(), owner},
		{"fewer scopes were granted", then(reduced), "True ScopeReduced", current(), client},
		{"fewer scopes were granted, and the token has expired", then(expired, reduced), "False TokenExpired", progresses(), nobody},
		{"more scopes were granted than another namespace may have", then(exceeded), "False ScopeExceeded", degraded(), client},
	}
}

// requestStates: each class of failure, with a token and without.
func requestStates() []health {
	var table []health
	for _, row := range []struct {
		class  oauth.Class
		reason string
		pipeline
		acts string
	}{
		{oauth.NotSent, v1alpha1.ReasonServerUnreachable, progresses(), nobody},
		{oauth.OutcomeUnknown, v1alpha1.ReasonOutcomeUnknown, progresses(), nobody},
		{oauth.Throttled, v1alpha1.ReasonThrottled, progresses(), nobody},
		{oauth.ClientRejected, v1alpha1.ReasonClientRejected, degraded(), client},
		{oauth.RequestRejected, v1alpha1.ReasonRequestRejected, degraded(), client},
		{oauth.RefreshTokenRejected, v1alpha1.ReasonRequestRejected, degraded(), client},
		{oauth.AuthorizationDenied, v1alpha1.ReasonRequestRejected, degraded(), client},
		{oauth.AuthorizationRequired, v1alpha1.ReasonRequestRejected, degraded(), client},
		{oauth.InvalidResponse, v1alpha1.ReasonInvalidResponse, progresses(), provider},
		{"Sulking", v1alpha1.ReasonInvalidResponse, progresses(), provider},
	} {
		failing := func(before func(f *lifecycle.Facts)) func(f *lifecycle.Facts) lifecycle.Done {
			return func(f *lifecycle.Facts) lifecycle.Done {
				before(f)
				return lifecycle.Done{Failure: &lifecycle.Failure{Class: row.class, Message: "no token came"}}
			}
		}
		due := func(f *lifecycle.Facts) { f.Credential = held(ago(50*time.Minute), in(10*time.Minute)) }
		reducedAndExpired := func(f *lifecycle.Facts) { expired(f); f.Credential.Scopes = []string{} }
		table = append(table,
			health{"the request failed, " + string(row.class) + ", with a token", failing(due), "True " + row.reason, current(), row.acts},
			health{"the request failed, " + string(row.class) + ", with an expired token", failing(expired), "False " + row.reason, row.pipeline, row.acts},
			health{"the request failed, " + string(row.class) + ", with an expired token of fewer scopes", failing(reducedAndExpired), "False " + row.reason, row.pipeline, row.acts},
			health{"the request failed, " + string(row.class) + ", without a token", failing(tokenless), "False " + row.reason, row.pipeline, row.acts},
		)
	}
	return table
}

func secretStates() []health {
	foreign := func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }
	impossible := func(f *lifecycle.Facts) { f.Secret, f.SecretFault = lifecycle.SecretStale, secretFault() }
	refused := func(f *lifecycle.Facts) lifecycle.Done {
		f.Secret = lifecycle.SecretAbsent
		return lifecycle.Done{PublishFinding: &lifecycle.Finding{Condition: v1alpha1.ConditionPublished, Reason: v1alpha1.ReasonSecretWriteFailed, Message: "a quota"}}
	}
	return []health{
		{"the Secret is another's", then(tokenless, foreign), "False SecretOwnedByOther", degraded(), owner},
		{"the Secret was ours and is another's", then(foreign), "False SecretOwnedByOther", degraded(), owner},
		{"the Secret cannot be made as the spec says", then(tokenless, impossible), "False SecretTooLarge", degraded(), owner},
		{"the Secret was made and cannot be any more", then(impossible), "False SecretTooLarge", degraded(), owner},
		{"what the Secret is to hold makes no sense", then(tokenless, impossible, func(f *lifecycle.Facts) { f.SecretFault.Reason = v1alpha1.ReasonInvalidSecretData }), "False InvalidSecretData", degraded(), owner},
		{"the Secret cannot be written", refused, "False SecretWriteFailed", progresses(), owner},
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, row := range healthTable() {
		t.Run(row.state, func(t *testing.T) {
			t.Parallel()
			facts := healthy()
			done := row.account(facts)
			// What the row says stands after the lap and after the next one, in which nothing was done.
			for _, done := range []lifecycle.Done{done, {PublishFinding: done.PublishFinding}} {
				facts.Account.Status = lifecycle.Status(facts, done, noon())
				if ready := said(facts.Account.Status, v1alpha1.ConditionReady); ready != row.ready {
					t.Errorf("Ready is %q, want %q", ready, row.ready)
				}
				if seen := seenBy(t, facts.Account); seen != row.pipeline {
					t.Errorf("pipelines see %+v, want %+v", seen, row.pipeline)
				}
				if err := wellFormed(facts, facts.Account.Status); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// seenBy is what pipelines make of an object, as an API server would show it to them.
func seenBy(t *testing.T, object any) pipeline {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	kind := "ConnectedAccount"
	if _, is := object.(*v1alpha1.OAuthClient); is {
		kind = "OAuthClient"
	}
	computed, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatal(err)
	}
	argo, _ := argoHealth(t, kind, content)
	return pipeline{computed.Status, argo}
}

func TestHealthBeforeTheOperatorHasLooked(t *testing.T) {
	t.Parallel()
	account := fresh().Account
	account.Status.ObservedGeneration = new(int64(-1)) // the definition's default
	if seen := seenBy(t, account); seen != progresses() {
		t.Errorf("pipelines see %+v", seen)
	}
	// Nor is what it said of an earlier spec worth anything.
	account = healthy().Account
	account.Status = lifecycle.Status(healthy(), lifecycle.Done{}, noon())
	account.Generation++
	if seen := seenBy(t, account); seen != progresses() {
		t.Errorf("of an edited account, pipelines see %+v", seen)
	}
}

// Each reason that the API declares is one that some state leads to, and no state leads to one that is not declared.
func TestEveryReasonIsReached(t *testing.T) {
	t.Parallel()
	declared := declaredReasons(t)
	reached := map[string]bool{}
	note := func(conditions []metav1.Condition) {
		for _, found := range conditions {
			reached[found.Reason] = true
			if !declared[found.Reason] {
				t.Errorf("%s says %s, which the API does not declare", found.Type, found.Reason)
			}
		}
	}
	for _, row := range healthTable() {
		facts := healthy()
		note(lifecycle.Status(facts, row.account(facts), noon()).Conditions)
	}
	for _, row := range clientTable() {
		note(lifecycle.ClientStatus(row.facts(), noon()).Conditions)
	}
	for reason := range declared {
		if !reached[reason] {
			t.Errorf("no state leads to %s", reason)
		}
	}
}

func declaredReasons(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, is := node.(*ast.ValueSpec)
		if !is || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		literal, is := spec.Values[0].(*ast.BasicLit)
		if !is {
			t.Fatalf("%s is not a literal", spec.Names[0].Name)
		}
		reason, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons[reason] = true
		return true
	})
	if len(reasons) < 30 {
		t.Fatalf("found %d reasons only", len(reasons))
	}
	return reasons
}
