package controller

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// accountsPerPage bounds what one request for all accounts brings.
const accountsPerPage = 500

// Watched is a list of namespaces; none: all. Where it names some, the operator asks the API server for no client, account or
// Secret anywhere else, but for its own two: it needs no right there.
type Watched []string

// Caches is the form in which a cache is told.
func (w Watched) Caches() map[string]cache.Config {
	if len(w) == 0 {
		return nil
	}
	caches := map[string]cache.Config{}
	for _, namespace := range w {
		caches[namespace] = cache.Config{}
	}
	return caches
}

// has reports whether a namespace is one of them.
func (w Watched) has(namespace string) bool { return len(w) == 0 || slices.Contains(w, namespace) }

// eachPage lists all accounts, some at a time and never none, until the function has seen enough.
func (w Watched) eachPage(ctx context.Context, reader client.Reader, look func([]v1alpha1.ConnectedAccount) (more bool)) error {
	namespaces := []string(w)
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		page := &v1alpha1.ConnectedAccountList{}
		for {
			err := reader.List(ctx, page, client.InNamespace(namespace), client.Limit(accountsPerPage), client.Continue(page.Continue))
			if err != nil {
				return err
			}
			if len(page.Items) > 0 && !look(page.Items) {
				return nil
			}
			if page.Continue == "" {
				break
			}
		}
	}
	return nil
}
