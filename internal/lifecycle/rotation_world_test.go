package lifecycle_test

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	heldToken  = "fingerprint-4" // of the refresh token that rotating holds
	heldGrant  = 2               // its grant
	takeover   = 20 * time.Second
	claimStays = 45 * time.Second // a request of 30 s, and 15 s to keep what it brings
)

// importing is a new account that lives on refresh tokens. Its client declares nothing, which stands for the strictest:
// they can be used once, and a second use ends the grant.
func importing() *lifecycle.Facts {
	f := fresh()
	f.Account.Spec.Grant.Type = v1alpha1.GrantAuthorizationCode
	f.Account.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{Name: "bank", Key: "refresh_token"}
	f.Client.Spec.Grants = []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode}
	f.TakeoverWait = takeover
	return f
}

// heldRefreshable is a credential of both tokens.
func heldRefreshable(issued, expiration time.Time) lifecycle.Credential {
	credential := held(issued, expiration)
	credential.HasRefreshToken, credential.Fingerprint = true, heldToken
	credential.GrantSequence, credential.ClaimSequence = heldGrant, 9
	return credential
}

// rotating is an account with a refresh token, whose access token was issued ten minutes ago, for an hour, and is published.
func rotating() *lifecycle.Facts {
	f := importing()
	f.Credential = heldRefreshable(ago(10*time.Minute), in(50*time.Minute))
	f.Import.State = lifecycle.ImportDone
	f.HighestRotation = f.Credential.Rotation
	f.Secret = lifecycle.SecretCurrent
	f.Account.Status.SealedCredential = "sealed-4"
	f.Account.Status.BoundTo = v1alpha1.BoundTo{ClusterID: "cluster", AccountUID: uid}
	f.Account.Status.ClaimSequence = 9
	f.Account.Status = lifecycle.Status(f, lifecycle.Done{Published: true}, ago(10*time.Minute))
	return f
}

// overdue is rotating, with an access token that is due.
func overdue() *lifecycle.Facts {
	f := rotating()
	f.Credential = heldRefreshable(ago(50*time.Minute), in(10*time.Minute))
	return f
}

// claim puts a claim for the held refresh token into the status, seen as it is since the given time.
func claim(f *lifecycle.Facts, holder lifecycle.ClaimHolder, attempt int32, unchanged time.Duration) {
	status := &f.Account.Status
	status.ClaimSequence = 10
	status.Claim = v1alpha1.Claim{
		ID: "claim-10", Sequence: 10, Attempt: attempt,
		GrantSequence: new(f.Credential.GrantSequence), Rotation: new(f.Credential.Rotation), Fingerprint: f.Credential.Fingerprint,
		ClientUID: "client-uid", Host: "bank.example:443", DurationSeconds: int32(lifecycle.ClaimDuration(f.Client).Seconds()),
		StartTime: when(ago(unchanged)), Holder: v1alpha1.ClaimHolder{Journal: "journal", Process: "process"},
	}
	if attempt > 1 {
		status.DoubtSequence = 10
	}
	f.ClaimHolder, f.ClaimUnchanged = holder, unchanged
}

// claimed is a change: claim, in one.
func claimed(holder lifecycle.ClaimHolder, attempt int32, unchanged time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { claim(f, holder, attempt, unchanged) }
}

// contested announces that the claim is taken over.
func contested(f *lifecycle.Facts) {
	f.Account.Status.Claim.ContestedTime = when(ago(f.ClaimUnchanged))
}

// overtaken: the credential is a later one than the claim was made for.
func overtaken(f *lifecycle.Facts) {
	f.Account.Status.Claim.Rotation = new(f.Credential.Rotation - 1)
	f.Account.Status.Claim.Fingerprint = "fingerprint-3"
}

// failing writes a failure of that age into the status, and how long is still to be waited.
func failing(class oauth.Class, age, wait time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.Failures = v1alpha1.Failures{
			Count: 1, Class: string(class), LastFailureTime: when(ago(age)), NextAttemptTime: when(in(wait)), InputsHash: hash,
		}
	}
}

// refusing writes into the status that the refresh token was refused for good.
func refusing(class oauth.Class) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.Failures = v1alpha1.Failures{Count: 1, Class: string(class), LastFailureTime: when(ago(time.Minute)), InputsHash: hash}
	}
}

// The kinds of providers, besides the one that declares nothing.
func rejects(f *lifecycle.Facts) { f.Client.Spec.RefreshTokens.OnReuse = v1alpha1.ReuseRejects }

func reusable(f *lifecycle.Facts) { f.Client.Spec.RefreshTokens.Use = v1alpha1.RefreshTokenReusable }

func forgives(grace time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { f.Client.Spec.RefreshTokens.ReuseGraceSeconds = int32(grace.Seconds()) }
}

func annotate(key, value string) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { metav1.SetMetaDataAnnotation(&f.Account.ObjectMeta, key, value) }
}

func acceptOrigin(value string) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Client.Annotations = map[string]string{v1alpha1.AnnotationAcceptOrigin: value}
	}
}

func endpoint(url string) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { f.Client.Spec.Endpoints.Token = v1alpha1.Endpoint(url) }
}

func imports(state lifecycle.ImportState) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { f.Import.State = state }
}

// change makes one change of several.
func change(changes ...func(*lifecycle.Facts)) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		for _, one := range changes {
			one(f)
		}
	}
}
