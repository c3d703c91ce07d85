package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of both kinds, and the prefix of every label and annotation that the operator reads or sets.
const Group = "oauth-operator.dev"

// Version is the version of the API in this package.
const Version = "v1alpha1"

// GroupVersion returns the group and version of this package.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme registers both kinds and their lists.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &OAuthClient{}, &OAuthClientList{}, &ConnectedAccount{}, &ConnectedAccountList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
