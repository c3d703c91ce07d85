package controller

import (
	"context"
	"fmt"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// ClientReconciler tells whether an OAuthClient can be used. It calls no provider.
type ClientReconciler struct {
	Client      client.Client
	Credentials *ConsentedSecrets
	Transports  *Transports
	Metrics     *Metrics
	Circuits    *pace.Circuits
	Egress      oauth.Egress
	Clock       clock.PassiveClock
	// ConsentURL is where the pages of the consent server are, for everybody; "": nowhere.
	ConsentURL string
}

// Reconcile is one lap: facts, status.
func (r *ClientReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	owner := &v1alpha1.OAuthClient{}
	if err := r.Client.Get(ctx, request.NamespacedName, owner); apierrors.IsNotFound(err) {
		r.Transports.forget(request.NamespacedName)
		r.Metrics.forgetClient(request.NamespacedName)
		r.Circuits.Forget(request.String())
		return ctrl.Result{}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	facts, material, err := r.gather(ctx, owner)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := lifecycle.ClientStatus(facts, r.Clock.Now())
	status.RedirectURI = lifecycle.RedirectURI(r.ConsentURL, owner)
	status.ClientID = publicClientID(owner, material, status.RedirectURI)
	if apiequality.Semantic.DeepEqual(owner.Status, status) {
		return ctrl.Result{}, nil
	}
	updated := owner.DeepCopy()
	updated.Status = status
	if err := r.Client.Status().Update(ctx, updated); err != nil {
		return abandoned(err)
	}
	return ctrl.Result{}, nil
}

// publicClientID is the client identifier for the consent pages, which read no Secrets; "": they need none, or spec says it.
// Every browser sees it in the end. What is the client secret at the same time is in the wrong place, and stays there.
func publicClientID(owner *v1alpha1.OAuthClient, material clientMaterial, redirectURI string) string {
	if owner.Spec.ClientID != "" || redirectURI == "" || material.clientSecret.Equal(secret.New(material.clientID)) {
		return ""
	}
	return material.clientID
}

func (r *ClientReconciler) gather(ctx context.Context, owner *v1alpha1.OAuthClient) (*lifecycle.ClientFacts, clientMaterial, error) {
	facts := &lifecycle.ClientFacts{Client: owner, Accepted: endpointFault(string(owner.Spec.Endpoints.Token), r.Egress)}
	if facts.Accepted == nil {
		facts.Accepted = selectorFault(owner)
	}
	material, err := r.Credentials.material(ctx, owner)
	if facts.ResolvedRefs, err = asFinding(err); err != nil {
		return nil, clientMaterial{}, err
	}
	if facts.ResolvedRefs == nil && facts.Accepted == nil {
		facts.Accepted = methodFault(owner, material)
	}
	return facts, material, nil
}

// selectorFault finds a selector that selects nothing because it makes no sense. The schema cannot bound what checking it
// there would cost.
func selectorFault(owner *v1alpha1.OAuthClient) *lifecycle.Finding {
	for i, entry := range owner.Spec.AllowedNamespaces {
		if _, err := metav1.LabelSelectorAsSelector(entry.Selector); err != nil {
			return &lifecycle.Finding{
				Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidSelector,
				Message: fmt.Sprintf("spec.allowedNamespaces[%d].selector cannot be used: %.300s", i, err),
			}
		}
	}
	return nil
}

// methodFault finds a client that cannot authenticate as the spec says, for a cause that lies in its Secrets.
func methodFault(owner *v1alpha1.OAuthClient, material clientMaterial) *lifecycle.Finding {
	if owner.Spec.Authentication.BasicEncoding == v1alpha1.BasicEncodingRaw && strings.Contains(material.clientID, ":") {
		return &lifecycle.Finding{
			Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonUnsupportedMethod,
			Message: "a client id with a colon cannot be sent with basicEncoding Raw: use RFC6749, or method ClientSecretPost",
		}
	}
	return nil
}
