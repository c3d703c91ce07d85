package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// rightsLook is the pause between two looks at rights that are missing.
const rightsLook = 10 * time.Second

// rights are those in the namespaces that are named. One of them may be gone, with the role in it, or be there before its role:
// what cannot be read there keeps nobody elsewhere waiting, while a cache that may not list would keep the process from starting.
type rights struct {
	api             client.Client
	readable, other []string
}

// lookAtRights finds the namespaces in which all can be read that has to be. No names: all namespaces, by a role that is not
// bound to any.
func lookAtRights(ctx context.Context, api client.Client, namespaces []string) (*rights, error) {
	found := &rights{api: api}
	for _, namespace := range namespaces {
		may, err := mayRead(ctx, api, namespace)
		switch {
		case err != nil:
			return nil, err
		case may:
			found.readable = append(found.readable, namespace)
		default:
			found.other = append(found.other, namespace)
			slog.Error("there is no right to read in a namespace that --watch-namespaces names: its accounts are left alone until there is", "namespace", namespace)
		}
	}
	if len(namespaces) > 0 && len(found.readable) == 0 {
		return nil, errors.New("there is no right to read in any of the namespaces that --watch-namespaces names: they, or the roles in them, are missing")
	}
	return found, nil
}

// mayRead asks whether clients, accounts and Secrets of a namespace may be listed.
func mayRead(ctx context.Context, api client.Client, namespace string) (bool, error) {
	for _, kind := range []authorizationv1.ResourceAttributes{
		{Group: v1alpha1.Group, Resource: "oauthclients"}, {Group: v1alpha1.Group, Resource: "connectedaccounts"}, {Resource: "secrets"},
	} {
		kind.Namespace, kind.Verb = namespace, "list"
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &kind}}
		if err := api.Create(ctx, review); err != nil {
			return false, fmt.Errorf("ask for the rights in the namespace %s: %w", namespace, err)
		}
		if !review.Status.Allowed {
			return false, nil
		}
	}
	return true, nil
}

// NeedLeaderElection is false: each replica has caches.
func (*rights) NeedLeaderElection() bool { return false }

// Start waits for the rights that are missing, and then has the process start again, since caches are made once.
func (r *rights) Start(ctx context.Context) error {
	if len(r.other) == 0 {
		return nil
	}
	ticker := time.NewTicker(rightsLook)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if i := slices.IndexFunc(r.other, func(namespace string) bool {
			may, err := mayRead(ctx, r.api, namespace)
			return err == nil && may
		}); i >= 0 {
			return fmt.Errorf("there are rights in the namespace %s now: the process has to start again to work there", r.other[i])
		}
	}
}
