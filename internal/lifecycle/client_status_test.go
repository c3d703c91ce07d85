package lifecycle_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
)

// clientHealth is one row of the table of a client's states.
type clientHealth struct {
	state                         string
	accepted, resolved            *lifecycle.Finding
	ready, acceptance, resolution string // status and reason
	pipeline
	acts string
}

func (h clientHealth) facts() *lifecycle.ClientFacts {
	client := newClient(home)
	client.Status = v1alpha1.OAuthClientStatus{}
	return &lifecycle.ClientFacts{Client: client, Accepted: h.accepted, ResolvedRefs: h.resolved}
}

func clientTable() []clientHealth {
	refused := func(reason string) *lifecycle.Finding {
		return &lifecycle.Finding{Condition: v1alpha1.ConditionAccepted, Reason: reason, Message: "the spec"}
	}
	unresolved := func(reason string) *lifecycle.Finding {
		return &lifecycle.Finding{Condition: v1alpha1.ConditionResolvedRefs, Reason: reason, Message: "the Secret"}
	}
	const accepted, resolved = "True Accepted", "True Resolved"
	return []clientHealth{
		{"all is well", nil, nil, "True Ready", accepted, resolved, current(), nobody},
		{"the endpoint cannot be used", refused("InvalidEndpoint"), nil, "False InvalidEndpoint", "False InvalidEndpoint", resolved, degraded(), client},
		{"a selector cannot be used", refused("InvalidSelector"), nil, "False InvalidSelector", "False InvalidSelector", resolved, degraded(), client},
		{"the method cannot be used", refused("UnsupportedMethod"), nil, "False UnsupportedMethod", "False UnsupportedMethod", resolved, degraded(), client},
		{"a Secret is not there", nil, unresolved("SecretNotFound"), "False SecretNotFound", accepted, "False SecretNotFound", progresses(), client},
		{"a key is not there", nil, unresolved("SecretKeyMissing"), "False SecretKeyMissing", accepted, "False SecretKeyMissing", progresses(), client},
		{"a Secret may not be read", nil, unresolved("SecretNotConsented"), "False SecretNotConsented", accepted, "False SecretNotConsented", progresses(), "the Secret's owner"},
		{"both at once: the spec goes first", refused("InvalidEndpoint"), unresolved("SecretNotFound"), "False InvalidEndpoint", "False InvalidEndpoint", "False SecretNotFound", degraded(), client},
	}
}

func TestClientStatus(t *testing.T) {
	t.Parallel()
	for _, row := range clientTable() {
		t.Run(row.state, func(t *testing.T) {
			t.Parallel()
			facts := row.facts()
			pristine := facts.Client.DeepCopy()
			first := lifecycle.ClientStatus(facts, noon())
			if !reflect.DeepEqual(pristine, facts.Client) {
				t.Error("the client was changed")
			}
			got := [3]string{}
			for i, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs} {
				got[i] = said(v1alpha1.ConnectedAccountStatus{Conditions: first.Conditions}, kind)
			}
			if diff := cmp.Diff([3]string{row.ready, row.acceptance, row.resolution}, got); diff != "" {
				t.Error(diff)
			}
			facts.Client.Status = first
			if seen := seenBy(t, facts.Client); seen != row.pipeline {
				t.Errorf("pipelines see %+v, want %+v", seen, row.pipeline)
			}
			if diff := cmp.Diff(first, lifecycle.ClientStatus(facts, in(time.Hour))); diff != "" {
				t.Errorf("a look that finds nothing new changes the status: %s", diff)
			}
		})
	}
}

func TestClientConditionsAreComplete(t *testing.T) {
	t.Parallel()
	for _, row := range clientTable() {
		got := lifecycle.ClientStatus(row.facts(), noon())
		if got.ObservedGeneration == nil || *got.ObservedGeneration != 3 {
			t.Errorf("%s: observed generation is %v", row.state, got.ObservedGeneration)
		}
		for _, found := range got.Conditions {
			if found.ObservedGeneration != 3 || found.Message == "" || !found.LastTransitionTime.Equal(when(noon())) {
				t.Errorf("%s: condition %+v is incomplete", row.state, found)
			}
		}
	}
}

// From each state to each other: nothing is left of the one before.
func TestClientStatusForgets(t *testing.T) {
	t.Parallel()
	for _, before := range clientTable() {
		for _, after := range clientTable() {
			facts := after.facts()
			fresh := lifecycle.ClientStatus(facts, noon())
			facts.Client.Status = lifecycle.ClientStatus(before.facts(), ago(time.Hour))
			got := lifecycle.ClientStatus(facts, noon())
			if len(got.Conditions) != len(fresh.Conditions) {
				t.Errorf("from %q to %q: %+v", before.state, after.state, got.Conditions)
			}
			for _, want := range fresh.Conditions {
				found := meta.FindStatusCondition(got.Conditions, want.Type)
				if found == nil || found.Status != want.Status || found.Reason != want.Reason || found.Message != want.Message {
					t.Errorf("from %q to %q: got %+v, want %+v", before.state, after.state, found, want)
				}
			}
		}
	}
}
