package plugin

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// accountView is an account as it is shown. Its JSON is for programs.
type accountView struct {
	Namespace string             `json:"namespace"`
	Name      string             `json:"name"`
	Ready     bool               `json:"ready"`
	Reason    string             `json:"reason"`
	Message   string             `json:"message,omitempty"`
	Grant     v1alpha1.GrantType `json:"grant,omitempty"`
	// Client is namespace/name; absent with an API key.
	Client string `json:"client,omitempty"`
	Secret string `json:"secret"`
	// Identity is whose access it is.
	Identity        string       `json:"identity,omitempty"`
	ExpirationTime  *metav1.Time `json:"expirationTime,omitempty"`
	NextRefreshTime *metav1.Time `json:"nextRefreshTime,omitempty"`
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`
	Rotations       int64        `json:"rotations"`
	// Expired: the token in the Secret is good no more.
	Expired bool `json:"expired"`

	known bool // the operator has looked at it
}

const reasonUnseen = "NotSeenYet"

func viewOf(account *v1alpha1.ConnectedAccount, now time.Time) accountView {
	status := account.Status
	view := accountView{
		Namespace: account.Namespace, Name: account.Name, Grant: account.Spec.Grant.Type, Secret: secretName(account), Identity: status.Identity,
		ExpirationTime: status.ExpirationTime, NextRefreshTime: status.NextRefreshTime, LastRefreshTime: status.LastRefreshTime,
		Rotations: status.Rotations, Expired: status.ExpirationTime != nil && !now.Before(status.ExpirationTime.Time),
		Reason: reasonUnseen, Message: "the operator has not looked at this account yet",
	}
	if account.Spec.ClientRef.Name != "" {
		view.Client = clientNamespace(account) + "/" + account.Spec.ClientRef.Name
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil {
		view.known, view.Ready = true, ready.Status == metav1.ConditionTrue && !view.Expired
		view.Reason, view.Message = ready.Reason, ready.Message
	}
	if view.Reason == v1alpha1.ReasonRefreshTokenRejected || view.Reason == v1alpha1.ReasonRefreshTokenLost || endsWithItsToken(account) {
		view.NextRefreshTime = nil // whatever was planned
	}
	if view.Expired && view.Reason == v1alpha1.ReasonTokenValid { // and nobody has written that down yet
		view.Reason, view.Message = v1alpha1.ReasonTokenExpired, "the token in the Secret has expired, and the operator has not replaced it"
	}
	return view
}

// secretName is the name of an account's token Secret.
func secretName(account *v1alpha1.ConnectedAccount) string {
	return cmp.Or(account.Spec.Secret.Name, account.Name)
}

func clientNamespace(account *v1alpha1.ConnectedAccount) string {
	return cmp.Or(account.Spec.ClientRef.Namespace, account.Namespace)
}

// consented reports whether a person's consent is behind an account.
func consented(account *v1alpha1.ConnectedAccount) bool {
	return account.Spec.Grant.Type == v1alpha1.GrantAuthorizationCode
}

// readyCell says whether there is a usable token; yellow where there is, and something is wrong all the same.
func (v accountView) readyCell() cell {
	switch {
	case !v.known:
		return cell{"-", faint}
	case !v.Ready:
		return cell{"False", red}
	case v.Reason != v1alpha1.ReasonTokenValid:
		return cell{"True", yellow}
	default:
		return cell{"True", green}
	}
}

func (v accountView) expiresCell(now time.Time) cell {
	switch {
	case v.ExpirationTime == nil && v.Ready:
		return cell{"not known", faint}
	case v.ExpirationTime == nil:
		return cell{"-", faint}
	case v.Expired:
		return cell{duration.HumanDuration(now.Sub(v.ExpirationTime.Time)) + " ago", red}
	default:
		return cell{duration.HumanDuration(v.ExpirationTime.Sub(now)), plain}
	}
}

func (v accountView) refreshCell(now time.Time) cell {
	switch {
	case v.NextRefreshTime == nil:
		return cell{"-", faint}
	case !now.Before(v.NextRefreshTime.Time):
		return cell{"now", plain}
	default:
		return cell{"in " + duration.HumanDuration(v.NextRefreshTime.Sub(now)), plain}
	}
}

// token says what the Secret holds, as the end of a sentence.
func (v accountView) token(now time.Time) string {
	text := "the Secret " + v.Secret + " holds a token"
	switch {
	case v.ExpirationTime == nil:
		return text
	case v.Expired:
		return text + " that has expired"
	default:
		return text + " that is good for " + duration.HumanDuration(v.ExpirationTime.Sub(now))
	}
}
