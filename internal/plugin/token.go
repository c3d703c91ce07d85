package plugin

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// headersKey is the key of a token Secret with the header lines.
const headersKey = "headers"

func newToken(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "token NAME",
		Short: "Print the header lines of an account's token, for curl",
		Long: `Prints the header lines of the account's token, as they are in its Secret, which you must be allowed to read.

Give them to curl by its standard input, so that they are on no command line and in no file.`,
		Example: "  kubectl oauth token acme -n shop | curl -H @- https://provider.example/v1/invoices",
		Args:    exactly("NAME"),
		RunE:    func(command *cobra.Command, names []string) error { return a.token(command.Context(), names[0]) },

		ValidArgsFunction: a.completeAccount,
	}
}

func (a *app) token(ctx context.Context, name string) error {
	found, account, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	held := &corev1.Secret{}
	err = found.get(ctx, types.NamespacedName{Namespace: account.Namespace, Name: secretName(account)}, held)
	if apierrors.IsNotFound(err) {
		view := viewOf(account, found.clock.Now())
		return failf(ExitWrong, "there is no Secret %s yet. The account says %s: %s", secretName(account), view.Reason, view.Message)
	}
	if err != nil {
		return err
	}
	headers, err := headersOf(account, held)
	if err != nil {
		return err
	}
	view := viewOf(account, found.clock.Now())
	if view.Expired {
		return failf(ExitWrong, "the token in the Secret %s has expired: %s", held.Name, own("doctor", account))
	}
	if a.system.OutTerminal {
		a.tellf("warning: whoever sees this screen, or what is kept of it, can use the token: better give it to a program, as in\n  %s | curl -H @- https://...", own("token", account))
	}
	_, err = io.WriteString(a.system.Out, headers.Reveal())
	return err
}

// headersOf are the header lines in a Secret, if it is the account's own and there is nothing else in them.
func headersOf(account *v1alpha1.ConnectedAccount, held *corev1.Secret) (secret.Value, error) {
	owner := metav1.GetControllerOf(held)
	if owner == nil || owner.UID != account.UID {
		return secret.Value{}, failf(ExitWrong, "the Secret %s is not this account's: %s", held.Name, own("doctor", account))
	}
	text := string(held.Data[headersKey])
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	strange := func(each string) bool {
		name, value, is := strings.Cut(each, ":")
		return !is || name == "" || value == "" || strings.ContainsFunc(each, func(c rune) bool { return c < ' ' || c > '~' })
	}
	if slices.ContainsFunc(lines, strange) {
		return secret.Value{}, failf(ExitWrong, "the key %s of the Secret %s holds no header lines", headersKey, cmp.Or(held.Name, "?"))
	}
	return secret.New(fmt.Sprintln(strings.Join(lines, "\n"))), nil
}
