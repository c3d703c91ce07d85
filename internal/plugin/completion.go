package plugin

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	// completeWait is for how long a shell is kept waiting, completeMost how many names it is given.
	completeWait = 3 * time.Second
	completeMost = 500
)

// completeAccounts gives a shell the names of accounts that begin so. Where they cannot be had, there is nothing to complete.
func (a *app) completeAccounts(command *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
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
		if strings.HasPrefix(account.Name, begun) {
			names = append(names, cobra.CompletionWithDesc(account.Name, viewOf(&account, found.clock.Now()).Reason))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
