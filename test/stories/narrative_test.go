package stories_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// effect is one change of the world that a replica makes or tries to make.
type effect struct{ verb, text string }

// made is an effect that was made, or that failed.
type made struct {
	by string
	effect
	err error
}

// effect takes note of an effect of a replica.
func (w *world) effect(r *replica, e effect, err error) {
	w.t.Helper()
	w.effects = append(w.effects, made{r.name, e, err})
	who := r.name
	if e.verb == "commits" {
		who = ""
	}
	text := strings.TrimSpace(who + " " + e.text)
	if err != nil {
		text += ": " + outcome(err)
	}
	w.sayf("%s", text)
	if err == nil {
		w.crash.note(r, e.text)
		w.noteTakeover(r, e)
	}
}

// sayf writes a line of the narrative.
func (w *world) sayf(format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := w.account.Name + ": " + fmt.Sprintf(format, arguments...)
	w.lines = append(w.lines, line)
	w.log = append(w.log, w.clock.Now().Format("15:04:05 ")+line)
}

// debugf is for whoever looks into a story that failed.
func (w *world) debugf(format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "         . "+fmt.Sprintf(format, arguments...))
}

// outcome is what came of a write, in a word.
func outcome(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Sprintf("%d %s", status.Status().Code, status.Status().Reason)
	}
	return err.Error()
}

// note takes note of where a replica stands.
func (w *world) note(r *replica, p point) {
	w.t.Helper()
	switch p.phase {
	case after:
		w.effect(r, p.effect, p.err)
	case sent:
		text := "sends the refresh token"
		if r.forCode {
			text = "sends the code"
		} else if r.flight.claimID != "" {
			text += fmt.Sprintf(", attempt %d", r.flight.attempt)
		}
		w.effect(r, effect{"sends", text}, nil)
	case committed:
		w.checkSend(r)
		if r.flight.isLost() {
			w.excuse(r, "an answer was lost on its way")
		}
		w.effect(r, effect{"commits", r.flight.text(w)}, nil)
	case before, ended:
	}
}

// describe says what a write would change.
func (w *world) describe(object client.Object) effect {
	switch object := object.(type) {
	case *v1alpha1.ConnectedAccount:
		return w.describeStatus(object)
	case *corev1.Secret:
		if isSourceMark(object) {
			return effect{"marks", "marks the source as imported"}
		}
		rotation, _, _ := strings.Cut(object.Annotations[v1alpha1.AnnotationRotation], ".")
		return effect{"publishes", "writes the Secret, rotation " + rotation}
	default:
		return effect{"writes", fmt.Sprintf("writes a %T", object)}
	}
}

// describeStatus compares a status with the one that it is based on.
func (w *world) describeStatus(object *v1alpha1.ConnectedAccount) effect {
	w.mu.Lock()
	base := w.versions[object.ResourceVersion]
	w.mu.Unlock()
	now := object.Status
	cleared := ""
	if now.Claim.ID == "" && base.Claim.ID != "" {
		cleared = ", claim cleared"
	}
	if now.DoubtSequence != base.DoubtSequence {
		cleared += fmt.Sprintf(", doubt %d", now.DoubtSequence)
	}
	if now.Authorization.Exchange.ID == "" && base.Authorization.Exchange.ID != "" {
		cleared += ", claim of the code cleared"
	}
	if last := now.Authorization.LastOutcome; last.StateHash != base.Authorization.LastOutcome.StateHash || last.Result != base.Authorization.LastOutcome.Result {
		cleared += fmt.Sprintf(", the code: %s", last.Result)
	}
	held := w.openStatus(string(object.UID), &now)
	switch {
	case now.Authorization.Exchange.ID != base.Authorization.Exchange.ID && now.Authorization.Exchange.ID != "":
		return effect{"claims the code", fmt.Sprintf("claims the code, claim %d%s", now.Authorization.Exchange.Sequence, cleared)}
	case now.SealedCredential != base.SealedCredential && held.AccessToken.Empty():
		return effect{"imports", fmt.Sprintf("imports %d.%d%s", held.GrantSequence, held.Rotation, cleared)}
	case now.SealedCredential != base.SealedCredential:
		return effect{"keeps", fmt.Sprintf("keeps %d.%d%s", held.GrantSequence, held.Rotation, cleared)}
	case now.Claim.ID != base.Claim.ID && now.Claim.ID != "":
		return effect{"claims", fmt.Sprintf("claims %d.%d, attempt %d, claim %d%s", held.GrantSequence, held.Rotation, now.Claim.Attempt, now.Claim.Sequence, cleared)}
	case now.Claim.ContestedTime != nil && base.Claim.ContestedTime == nil:
		return effect{"contests", fmt.Sprintf("contests claim %d", now.Claim.Sequence)}
	case now.Failures.Count > 0 && !apiequality.Semantic.DeepEqual(now.Failures, base.Failures):
		return effect{"fails", fmt.Sprintf("writes the failure %s%s", now.Failures.Class, cleared)}
	case cleared != "":
		return effect{"unclaims", "writes" + strings.TrimPrefix(cleared, ",")}
	}
	ready := meta.FindStatusCondition(now.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return effect{"tells", "writes the status"}
	}
	return effect{"tells", fmt.Sprintf("tells Ready=%s %s", ready.Status, ready.Reason)}
}

// tokenName names a refresh token by the order in which tokens were first seen.
func (w *world) tokenName(fingerprint string) string {
	at := slices.Index(w.tokens, fingerprint)
	if at < 0 {
		at = len(w.tokens)
		w.tokens = append(w.tokens, fingerprint)
	}
	return fmt.Sprintf("t%d", at+1)
}

// golden compares the narrative with the one in testdata.
func (w *world) golden(name string) {
	w.t.Helper()
	text := strings.Join(w.lines, "\n") + "\n"
	path := filepath.Join("testdata", name+".golden")
	if *update {
		w.must(os.WriteFile(path, []byte(text), 0o600))
		return
	}
	want, err := os.ReadFile(path)
	w.must(err)
	if diff := cmp.Diff(string(want), text); diff != "" {
		w.t.Errorf("the story went otherwise (-want +got):\n%s", diff)
	}
}
