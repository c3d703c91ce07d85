package lifecycle_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// planCase is one sentence about a plan.
type planCase struct {
	facts  *lifecycle.Facts
	change func(*lifecycle.Facts)
	want   lifecycle.Plan
}

func decideAll(t *testing.T, tests map[string]planCase) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.change(test.facts)
			if diff := cmp.Diff(test.want, lifecycle.Decide(test.facts, noon())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func rests(rule string) lifecycle.Plan { return lifecycle.Plan{Rule: rule, Action: lifecycle.Rest} }

func acts(rule string, action lifecycle.Action) lifecycle.Plan {
	return lifecycle.Plan{Rule: rule, Action: action}
}

// spends is a plan to use the refresh token, under a claim.
func spends(rule string, attempt int32) lifecycle.Plan {
	return lifecycle.Plan{Rule: rule, Action: lifecycle.Exchange, Scopes: []string{"read"}, Refresh: true, Claim: true, Attempt: attempt}
}

func nothing(*lifecycle.Facts) {}

func TestDecideRefresh(t *testing.T) {
	t.Parallel()
	unclaimed := spends("refresh due", 1)
	unclaimed.Claim = false
	decideAll(t, map[string]planCase{
		"an account whose access token is good rests":       {rotating(), nothing, rests("nothing to do")},
		"one that is due is refreshed, under a claim":       {overdue(), nothing, spends("refresh due", 1)},
		"what was imported is spent at once":                {rotating(), func(f *lifecycle.Facts) { f.Credential.HasAccessToken = false }, spends("no access token", 1)},
		"an access token from tomorrow is replaced":         {rotating(), func(f *lifecycle.Facts) { f.Credential.IssuedTime = in(24 * time.Hour) }, spends("clock went back", 1)},
		"a reusable refresh token needs no claim":           {overdue(), reusable, unclaimed},
		"other scopes are not asked for without the person": {rotating(), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"write"} }, rests("nothing to do")},
		"another audience is not worth a refresh token": {
			rotating(), func(f *lifecycle.Facts) {
				f.Client.Spec.TokenRequest.Parameters = []v1alpha1.TokenParameter{{Name: "audience", Value: "a"}}
			}, rests("nothing to do"),
		},
		"a failure's wait is kept":                                 {overdue(), failing(oauth.NotSent, time.Minute, time.Second), rests("too soon")},
		"after it, the token is used again for a first time":       {overdue(), failing(oauth.NotSent, time.Minute, 0), spends("refresh due", 1)},
		"a refusal that may pass is tried again":                   {overdue(), failing(oauth.AuthorizationRequired, time.Hour, 0), spends("refresh due", 1)},
		"a denial may pass as well":                                {overdue(), failing(oauth.AuthorizationDenied, time.Hour, 0), spends("refresh due", 1)},
		"a Secret that could not be written stops it for a minute": {overdue(), func(f *lifecycle.Facts) { f.SecretRefused = ago(time.Minute - 1) }, rests("secret not writable")},
		"then it is tried whether it can be":                       {overdue(), func(f *lifecycle.Facts) { f.SecretRefused = ago(time.Minute) }, spends("refresh due", 1)},
		"what is in doubt is found out without a Secret": {
			overdue(), change(claimed(lifecycle.ClaimOrphaned, 1, time.Second), rejects, func(f *lifecycle.Facts) { f.SecretRefused = ago(time.Second) }),
			spends("outcome to find out", 2),
		},
		"a Secret that cannot be made stops a first use": {overdue(), func(f *lifecycle.Facts) { f.SecretFault = secretFault() }, rests("secret not possible")},
		"another Secret in the way stops a first use":    {overdue(), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }, rests("secret owned by other")},
		"what was spent before it came is found out all the same": {
			overdue(), change(claimed(lifecycle.ClaimOrphaned, 1, time.Second), rejects, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }),
			spends("outcome to find out", 2),
		},
		"an exchange of this process's own is waited for":   {overdue(), func(f *lifecycle.Facts) { f.ExchangeOpen = true }, rests("exchange open")},
		"so it is where another claim stands in the status": {overdue(), change(claimed(lifecycle.ClaimForeign, 1, time.Hour), func(f *lifecycle.Facts) { f.ExchangeOpen = true }), rests("exchange open")},
		"while an exchange is open, nothing is imported":    {importing(), change(imports(lifecycle.ImportNew), func(f *lifecycle.Facts) { f.ExchangeOpen = true }), rests("exchange open")},
	})
}

func TestDecideAdoption(t *testing.T) {
	t.Parallel()
	elsewhere := func() *lifecycle.Facts {
		f := rotating()
		f.Credential = lifecycle.Credential{State: lifecycle.CredentialElsewhere}
		f.Account.Status.BoundTo.AccountUID = "earlier"
		return f
	}
	strange := rests("credential not ours or not readable")
	adopts := acts("adoption asked for", lifecycle.Adopt)
	decideAll(t, map[string]planCase{
		"what was sealed for an earlier account is left alone":           {elsewhere(), nothing, strange},
		"it is adopted where the account names the earlier one":          {elsewhere(), annotate(v1alpha1.AnnotationAdopt, "earlier"), adopts},
		"a name that is not the earlier one's adopts nothing":            {elsewhere(), annotate(v1alpha1.AnnotationAdopt, uid), strange},
		"no name is not the name of nobody":                              {elsewhere(), change(annotate(v1alpha1.AnnotationAdopt, ""), func(f *lifecycle.Facts) { f.Account.Status.BoundTo.AccountUID = "" }), strange},
		"an annotation that stays adopts nothing a second time":          {rotating(), annotate(v1alpha1.AnnotationAdopt, uid), rests("nothing to do")},
		"an adoption needs no client":                                    {elsewhere(), change(annotate(v1alpha1.AnnotationAdopt, "earlier"), func(f *lifecycle.Facts) { f.Client = nil }), adopts},
		"but a definition that keeps what is written":                    {elsewhere(), change(annotate(v1alpha1.AnnotationAdopt, "earlier"), func(f *lifecycle.Facts) { f.SchemaTooOld = true }), rests("schema too old")},
		"and an account that stays":                                      {elsewhere(), change(annotate(v1alpha1.AnnotationAdopt, "earlier"), deleted), rests("deleted")},
		"what does not open is not adopted":                              {elsewhere(), change(annotate(v1alpha1.AnnotationAdopt, "earlier"), func(f *lifecycle.Facts) { f.Credential.State = lifecycle.CredentialUnreadable }), strange},
		"a claim that came with the status does not stand in its way":    {elsewhere(), change(claimed(lifecycle.ClaimForeign, 1, 0), annotate(v1alpha1.AnnotationAdopt, "earlier")), adopts},
		"S13: a status that came from elsewhere spends nothing":          {elsewhere(), claimed(lifecycle.ClaimForeign, 1, time.Hour), strange},
		"S13: not even where it is said that the claim was this process": {elsewhere(), claimed(lifecycle.ClaimInDoubt, 1, time.Hour), strange},
	})
}

func TestDecideReseal(t *testing.T) {
	t.Parallel()
	earlier := func(f *lifecycle.Facts) { f.Reseal = true }
	reseals := acts("sealed under an earlier key", lifecycle.Reseal)
	publishes := reseals
	publishes.Publish = true
	inState := func(state lifecycle.CredentialState) func(*lifecycle.Facts) {
		return change(earlier, func(f *lifecycle.Facts) { f.Credential = lifecycle.Credential{State: state} })
	}
	final := failing(oauth.RefreshTokenRejected, time.Hour, 0)
	decideAll(t, map[string]planCase{
		"what was sealed under an earlier key is sealed anew":        {rotating(), earlier, reseals},
		"so is a client's own access":                                {healthy(), earlier, reseals},
		"before it is refreshed, which can wait for one write":       {overdue(), earlier, reseals},
		"though the account is suspended":                            {rotating(), change(earlier, suspended), reseals},
		"though there is no client":                                  {rotating(), change(earlier, func(f *lifecycle.Facts) { f.Client = nil }), reseals},
		"though the Secret is another's":                             {rotating(), change(earlier, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }), reseals},
		"though the provider has refused it for good":                {rotating(), change(earlier, final), reseals},
		"though it was put back: what is held stays what it is":      {rotating(), change(earlier, func(f *lifecycle.Facts) { f.HighestRotation = 1 << 20 }), reseals},
		"the Secret is put right beside it":                          {rotating(), change(earlier, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }), publishes},
		"never while its refresh token is claimed":                   {overdue(), change(earlier, claimed(lifecycle.ClaimForeign, 1, 0)), rests("claimed by another")},
		"nor while a result of this process's own is on its way":     {overdue(), change(earlier, func(f *lifecycle.Facts) { f.ExchangeOpen = true }), rests("exchange open")},
		"not while the keyring is missing":                           {rotating(), change(earlier, func(f *lifecycle.Facts) { f.KeyringMissing = true }), rests("keyring missing")},
		"nor under a definition that would drop it":                  {rotating(), change(earlier, func(f *lifecycle.Facts) { f.SchemaTooOld = true }), rests("schema too old")},
		"nor where the account goes":                                 {rotating(), change(earlier, deleted), rests("deleted")},
		"what does not open is not written over":                     {rotating(), inState(lifecycle.CredentialUnreadable), rests("credential not ours or not readable")},
		"nor what is of a later version":                             {rotating(), inState(lifecycle.CredentialNewerFormat), rests("credential not ours or not readable")},
		"nor what was made elsewhere":                                {rotating(), inState(lifecycle.CredentialElsewhere), rests("credential not ours or not readable")},
		"nor what lacks its key":                                     {rotating(), inState(lifecycle.CredentialKeyMissing), rests("keyring missing")},
		"where there is nothing, there is nothing to be sealed anew": {fresh(), earlier, lifecycle.Plan{Rule: "no credential", Action: lifecycle.Exchange, Scopes: []string{"read"}}},
	})
}

func deleted(f *lifecycle.Facts) { f.Account.DeletionTimestamp = when(ago(time.Second)) }

func suspended(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }

func TestDecideImport(t *testing.T) {
	t.Parallel()
	another := imports(lifecycle.ImportNew)
	replace := func(number string) func(*lifecycle.Facts) {
		return annotate(v1alpha1.AnnotationReplaceGrant, number)
	}
	state := func(state lifecycle.CredentialState) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) { f.Credential = lifecycle.Credential{State: state} }
	}
	taken := acts("refresh token to import", lifecycle.ImportToken)
	decideAll(t, map[string]planCase{
		"a refresh token that is named is imported":             {importing(), another, taken},
		"without one, nothing can be done":                      {importing(), nothing, rests("not authorized")},
		"one that cannot be imported is waited for":             {importing(), imports(lifecycle.ImportFault), rests("not authorized")},
		"one that was imported is not imported again":           {importing(), imports(lifecycle.ImportDone), rests("not authorized")},
		"a grant that lives is not given up for it":             {rotating(), another, rests("nothing to do")},
		"unless the account names the grant by its number":      {rotating(), change(another, replace("2")), taken},
		"another number is an earlier wish, and fulfilled":      {rotating(), change(another, replace("1")), rests("nothing to do")},
		"so is one that was written ahead":                      {rotating(), change(another, replace("3")), rests("nothing to do")},
		"a number is written in one way only":                   {rotating(), change(another, replace("02")), rests("nothing to do")},
		"an empty wish is none":                                 {rotating(), change(another, replace("")), rests("nothing to do")},
		"the wish imports nothing that is not there":            {rotating(), replace("2"), rests("nothing to do")},
		"a grant that the provider ended is replaced":           {rotating(), change(another, refusing(oauth.RefreshTokenRejected)), taken},
		"so is one that was lost":                               {rotating(), change(another, refusing(lifecycle.RefreshTokenLost)), taken},
		"a refusal that may pass ends no grant":                 {rotating(), change(another, refusing(oauth.AuthorizationRequired)), rests("nothing to do")},
		"a credential without a refresh token is replaced":      {rotating(), change(another, func(f *lifecycle.Facts) { f.Credential.HasRefreshToken = false }), taken},
		"one that was rolled back is replaced":                  {rotating(), change(another, func(f *lifecycle.Facts) { f.HighestRotation = 5 }), taken},
		"one that was obtained elsewhere does not stand in way": {rotating(), change(another, replace("2"), endpoint("https://other.example/token")), taken},
		"what does not open is not written over":                {importing(), change(another, state(lifecycle.CredentialUnreadable)), rests("credential not ours or not readable")},
		"nor what waits for its key":                            {importing(), change(another, state(lifecycle.CredentialKeyMissing)), rests("keyring missing")},
		"nor what was sealed elsewhere":                         {importing(), change(another, state(lifecycle.CredentialElsewhere)), rests("credential not ours or not readable")},
		"a suspended account imports nothing":                   {importing(), change(another, suspended), rests("suspended")},
		"nor does one whose client is not ready":                {importing(), change(another, func(f *lifecycle.Facts) { f.Client.Status.Conditions[0].Status = metav1.ConditionFalse }), rests("client not ready")},
		"nor one whose Secret is another's":                     {importing(), change(another, func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretForeign }), rests("secret owned by other")},
		"nor one that is deleted":                               {importing(), change(another, deleted), rests("deleted")},
		"client credentials import nothing":                     {healthy(), another, rests("nothing to do")},
		"an import that is wanted need not wait after a refusal": {
			rotating(), change(another, refusing(lifecycle.RefreshTokenLost), func(f *lifecycle.Facts) { f.LastAttempt = ago(time.Second) }), taken,
		},
	})
}

func TestDecideAuthorization(t *testing.T) {
	t.Parallel()
	final := rests("not authorized")
	decideAll(t, map[string]planCase{
		"a token that the provider refused is not sent again":    {overdue(), refusing(oauth.RefreshTokenRejected), final},
		"nor one that was lost":                                  {overdue(), refusing(lifecycle.RefreshTokenLost), final},
		"not even if the spec changes":                           {overdue(), change(refusing(lifecycle.RefreshTokenLost), func(f *lifecycle.Facts) { f.InputsHash = "changed" }), final},
		"without a refresh token, the access token is used up":   {overdue(), func(f *lifecycle.Facts) { f.Credential.HasRefreshToken = false }, final},
		"a refusal without a count is none":                      {overdue(), change(refusing(oauth.RefreshTokenRejected), func(f *lifecycle.Facts) { f.Account.Status.Failures.Count = 0 }), spends("refresh due", 1)},
		"S08: an earlier credential than was kept is not spent":  {overdue(), func(f *lifecycle.Facts) { f.HighestRotation = 5 }, rests("credential rolled back")},
		"the one that was kept last is":                          {overdue(), func(f *lifecycle.Facts) { f.HighestRotation = 4 }, spends("refresh due", 1)},
		"a later one than is known of is as well":                {overdue(), func(f *lifecycle.Facts) { f.HighestRotation = 3 }, spends("refresh due", 1)},
		"S08: nor is none, where one was kept":                   {importing(), func(f *lifecycle.Facts) { f.HighestRotation = 1 }, rests("credential rolled back")},
		"S08: a claim in it does not help":                       {overdue(), change(claimed(lifecycle.ClaimInDoubt, 1, time.Hour), func(f *lifecycle.Facts) { f.HighestRotation = 5 }), rests("credential rolled back")},
		"S08: what is rolled back is not published":              {rotating(), func(f *lifecycle.Facts) { f.HighestRotation, f.Secret = 5, lifecycle.SecretAbsent }, rests("credential rolled back")},
		"a reusable token that was rolled back is as good":       {rotating(), change(reusable, func(f *lifecycle.Facts) { f.HighestRotation = 5 }), rests("nothing to do")},
		"without a client, a token counts as one for single use": {overdue(), func(f *lifecycle.Facts) { f.HighestRotation, f.Client = 5, nil }, rests("client not available")},
	})
}

func TestDecideEndpoint(t *testing.T) {
	t.Parallel()
	changed, due := rests("endpoint changed"), spends("refresh due", 1)
	const (
		port = "https://bank.example:8443/token"
		host = "https://other.example/token"
	)
	decideAll(t, map[string]planCase{
		"S12: another port gets no refresh token":         {overdue(), endpoint(port), changed},
		"S12, H57: nor does another host":                 {overdue(), endpoint(host), changed},
		"S12: nor a host below it":                        {overdue(), endpoint("https://bank.example.evil.example/token"), changed},
		"nor the same host in the clear":                  {overdue(), endpoint("http://bank.example:443/token"), changed},
		"another path is the same origin":                 {overdue(), endpoint("https://BANK.example/v2?x=y"), due},
		"an origin that is accepted gets it":              {overdue(), change(endpoint(port), acceptOrigin("https://bank.example:8443")), due},
		"so does one of several":                          {overdue(), change(endpoint(host), acceptOrigin("https://bank.example:8443,https://other.example")), due},
		"capitals, blanks, a path and nonsense are borne": {overdue(), change(endpoint(host), acceptOrigin(" ,nonsense, HTTPS://Other.Example:443/ ,,")), due},
		"accepting another origin accepts nothing":        {overdue(), change(endpoint(host), acceptOrigin("https://bank.example:8443")), changed},
		"a host is not accepted for any port":             {overdue(), change(endpoint(port), acceptOrigin("https://bank.example")), changed},
		"there are no wildcards":                          {overdue(), change(endpoint(host), acceptOrigin("*,https://*,https://*.example,https://")), changed},
		"a lone host name is no origin":                   {overdue(), change(endpoint(host), acceptOrigin("other.example")), changed},
		"origins are separated by commas alone":           {overdue(), change(endpoint(host), acceptOrigin("https://bank.example:8443 https://other.example")), changed},
		"S45: an acceptance that stays does no harm":      {overdue(), acceptOrigin("https://other.example"), due},
		"another client identifier is another client":     {overdue(), func(f *lifecycle.Facts) { f.Client.Spec.ClientID = "other" }, changed},
		"which no accepted origin makes the same":         {overdue(), change(endpoint(host), acceptOrigin("https://other.example"), func(f *lifecycle.Facts) { f.Client.Spec.ClientID = "other" }), changed},
		"one that comes from a Secret is compared later":  {overdue(), func(f *lifecycle.Facts) { f.Client.Spec.ClientID = "" }, due},
		"S11: a client that was created again is the same": {overdue(), func(f *lifecycle.Facts) {
			f.Client.UID, f.Client.Generation = "reborn", 1
			f.Client.Status.Conditions[0].ObservedGeneration = 1
		}, due},
		"a doubt is not found out elsewhere": {overdue(), change(claimed(lifecycle.ClaimInDoubt, 1, time.Hour), rejects, endpoint(host)), changed},
		"what is held is published all the same": {
			rotating(), change(endpoint(host), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }),
			lifecycle.Plan{Rule: "endpoint changed", Action: lifecycle.Rest, Publish: true},
		},
	})
}

func TestDecideClaims(t *testing.T) {
	t.Parallel()
	const foreign, orphaned, doubtful, unsent = lifecycle.ClaimForeign, lifecycle.ClaimOrphaned, lifecycle.ClaimInDoubt, lifecycle.ClaimUnsent
	young, over := claimStays-time.Millisecond, claimStays
	without, open, contest := acts("claim without use", lifecycle.Unclaim), rests("claimed by another"), acts("claim left open", lifecycle.Contest)
	found := func(attempt int32) lifecycle.Plan { return spends("outcome to find out", attempt) }
	unclaimed := found(2)
	decideAll(t, map[string]planCase{
		"another's claim is left to it":                             {overdue(), claimed(foreign, 1, 0), open},
		"to its last moment":                                        {overdue(), claimed(foreign, 1, young), open},
		"then it is told that it will be taken over":                {overdue(), claimed(foreign, 1, over), contest},
		"also where a second use is only refused":                   {overdue(), change(rejects, claimed(foreign, 1, over)), contest},
		"after that, it has the takeover's wait":                    {overdue(), change(rejects, claimed(foreign, 1, claimStays-1), contested), open},
		"and then it is replaced, with the attempt counted up":      {overdue(), change(rejects, claimed(foreign, 1, claimStays), contested), found(2)},
		"as often as it takes":                                      {overdue(), change(rejects, claimed(foreign, 7, claimStays), contested), found(8)},
		"where a grace runs, no time is lost by announcing":         {overdue(), change(forgives(30*time.Second), claimed(foreign, 1, 15*time.Second)), found(2)},
		"nor is anybody rushed":                                     {overdue(), change(forgives(30*time.Second), claimed(foreign, 1, 15*time.Second-1)), open},
		"a dead process of this pod needs no notice":                {overdue(), change(rejects, claimed(orphaned, 1, 0)), found(2)},
		"nor does this one itself":                                  {overdue(), change(rejects, claimed(doubtful, 1, 0)), found(2)},
		"an unsent first try leaves nothing behind":                 {overdue(), claimed(unsent, 1, 0), without},
		"an unsent second one does not end the doubt":               {overdue(), change(rejects, claimed(unsent, 2, 0)), found(3)},
		"another's unsent try is not known to be that":              {overdue(), claimed(foreign, 1, 0), open},
		"an orphan's is not either":                                 {overdue(), change(rejects, claimed(orphaned, 1, 0)), found(2)},
		"a claim that was overtaken is cleared":                     {overdue(), change(claimed(foreign, 1, over), overtaken), without},
		"whoever made it, and whatever the attempt":                 {overdue(), change(claimed(doubtful, 5, 0), overtaken), without},
		"but its holder has its time":                               {overdue(), change(claimed(foreign, 1, young), overtaken), open},
		"another grant of the same rotation overtakes as well":      {overdue(), change(claimed(foreign, 1, over), func(f *lifecycle.Facts) { f.Account.Status.Claim.GrantSequence = new(int64(1)) }), without},
		"another token of the same numbers does too":                {overdue(), change(claimed(foreign, 1, over), func(f *lifecycle.Facts) { f.Account.Status.Claim.Fingerprint = "fingerprint-0" }), without},
		"a claim without numbers is for no token that is held":      {overdue(), change(claimed(foreign, 1, over), func(f *lifecycle.Facts) { f.Account.Status.Claim.GrantSequence = nil }), without},
		"a claim is found out even where nothing is due":            {rotating(), change(rejects, claimed(doubtful, 1, 0)), found(2)},
		"a claim of a token that is reusable by now is replaced":    {overdue(), change(reusable, claimed(doubtful, 1, time.Hour), func(f *lifecycle.Facts) { f.Credential.HasAccessToken = false }), unclaimed},
		"an attempt below the first counts as the first":            {overdue(), change(rejects, claimed(doubtful, -3, 0)), found(2)},
		"an attempt without end stays countable":                    {overdue(), change(rejects, claimed(doubtful, 1<<31-1, 0)), found(1<<20 + 1)},
		"a suspended account leaves its claim alone":                {overdue(), change(claimed(foreign, 1, time.Hour), contested, suspended), rests("suspended")},
		"even one that it never sent":                               {overdue(), change(claimed(unsent, 1, 0), suspended), rests("suspended")},
		"and one that was overtaken":                                {overdue(), change(claimed(foreign, 1, time.Hour), overtaken, suspended), rests("suspended")},
		"a deleted account does as well":                            {overdue(), change(claimed(foreign, 1, time.Hour), contested, deleted), rests("deleted")},
		"so does one whose client is gone":                          {overdue(), change(claimed(foreign, 1, time.Hour), contested, func(f *lifecycle.Facts) { f.Client = nil }), rests("client not available")},
		"a grant that is given up takes its claim along":            {overdue(), change(claimed(foreign, 1, 0), imports(lifecycle.ImportNew), annotate(v1alpha1.AnnotationReplaceGrant, "2")), acts("refresh token to import", lifecycle.ImportToken)},
		"a claim does not stand in the way of the Secret":           {rotating(), change(claimed(foreign, 1, 0), func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }), lifecycle.Plan{Rule: "claimed by another", Action: lifecycle.Rest, Publish: true}},
		"S14, S35: a claim for an hour is not believed":             {overdue(), change(claimed(foreign, 1, time.Minute), func(f *lifecycle.Facts) { f.Account.Status.Claim.DurationSeconds = 3600 }), contest},
		"S14, S35: nor one for a second":                            {overdue(), change(claimed(foreign, 1, young), func(f *lifecycle.Facts) { f.Account.Status.Claim.DurationSeconds = 1 }), open},
		"S14, S35: nor one for none":                                {overdue(), change(claimed(foreign, 1, young), func(f *lifecycle.Facts) { f.Account.Status.Claim.DurationSeconds = 0 }), open},
		"S14, S35: an announcement that nobody made hurries nobody": {overdue(), change(rejects, claimed(foreign, 1, young), contested), open},
	})
}
