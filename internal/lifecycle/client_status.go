package lifecycle

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// ClientFacts is everything that is known of a client.
type ClientFacts struct {
	Client *v1alpha1.OAuthClient
	// Accepted is why the spec cannot be used; nil: it can.
	Accepted *Finding
	// ResolvedRefs is why something that the spec names cannot be read; nil: all of it can.
	ResolvedRefs *Finding
}

// ClientStatus is the client's status. It is equal to the one that was read where nothing has changed.
func ClientStatus(f *ClientFacts, now time.Time) v1alpha1.OAuthClientStatus {
	status := *f.Client.Status.DeepCopy()
	generation := f.Client.Generation
	status.ObservedGeneration = &generation
	conditions := conditionSetter{&status.Conditions, generation, now}

	ready := Finding{v1alpha1.ConditionReady, "", ""}
	judge := func(kind string, finding *Finding, reason, message string) {
		if finding == nil {
			conditions.set(kind, metav1.ConditionTrue, reason, message)
			return
		}
		conditions.set(kind, metav1.ConditionFalse, finding.Reason, finding.Message)
		if ready.Reason == "" {
			ready.Reason, ready.Message = finding.Reason, finding.Message
		}
	}
	judge(v1alpha1.ConditionAccepted, f.Accepted, v1alpha1.ReasonAccepted, "the spec can be used")
	judge(v1alpha1.ConditionResolvedRefs, f.ResolvedRefs, v1alpha1.ReasonResolved, "all that the spec names was read")
	if ready.Reason == "" {
		conditions.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "accounts can use this client")
		conditions.kstatus(arrived, "", "")
		return status
	}
	conditions.finding(ready)
	// A Secret that is not there may be on its way; a spec that cannot be used stays so.
	stands := progressing
	if f.Accepted != nil {
		stands = stalled
	}
	conditions.kstatus(stands, ready.Reason, ready.Message)
	return status
}
