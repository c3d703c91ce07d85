// Package v1alpha1 holds the two custom resources of the group oauth-operator.dev: OAuthClient, a registration at a
// provider, and ConnectedAccount, one granted access; with the condition types and reasons that they show.
//
// It must never import anything but apimachinery: whoever talks to the API can use it without the operator.
//
// +kubebuilder:object:generate=true
// +groupName=oauth-operator.dev
package v1alpha1
