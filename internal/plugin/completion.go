package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// completeWait is for how long a shell is kept waiting, completeMost how many names it is given.
	completeWait = 3 * time.Second
	completeMost = 500
)

// completeAccounts gives a shell the names of accounts that begin so, and are not there yet. Where they cannot be had, there is
// nothing to complete.
func (a *app) completeAccounts(command *cobra.Command, there []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	found, namespace, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(command.Context(), completeWait)
	defer cancel()
	list := &v1alpha1.ConnectedAccountList{}
	if err := found.list(ctx, list, client.InNamespace(namespace), client.Limit(completeMost)); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, account := range list.Items {
		if strings.HasPrefix(account.Name, begun) && !slices.Contains(there, account.Name) {
			names = append(names, cobra.CompletionWithDesc(account.Name, viewOf(&account, found.clock.Now()).Reason))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeAccount is completeAccounts for a command that takes one name.
func (a *app) completeAccount(command *cobra.Command, there []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(there) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeAccounts(command, there, begun)
}

// completeFlag gives a shell what may be written after a flag.
func completeFlag(command *cobra.Command, flag string, values func(context.Context) []string) {
	err := command.RegisterFlagCompletionFunc(flag, func(command *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(command.Context(), completeWait)
		defer cancel()
		return slices.DeleteFunc(values(ctx), func(value string) bool { return !strings.HasPrefix(value, begun) }), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(fmt.Sprintf("there is no flag %s: %v", flag, err)) // there is: its command has just got it
	}
}

// namespaces are the names of all, where the user may see them.
func (a *app) namespaces(ctx context.Context) []string {
	found, _, err := a.connect()
	if err != nil {
		return nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := found.list(ctx, list, client.Limit(completeMost)); err != nil {
		return nil
	}
	var names []string
	for _, namespace := range list.Items {
		names = append(names, namespace.Name)
	}
	return names
}

// contexts are those of the kubeconfig.
func (a *app) contexts(context.Context) []string {
	config, err := a.loading.Load()
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(config.Contexts)) {
		names = append(names, clean(name))
	}
	return names
}
