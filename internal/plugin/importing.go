package plugin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// maxToken is the longest refresh token, in bytes: that of the operator.
const maxToken = 16 << 10

type importOptions struct {
	hosts   []string
	replace bool
}

func newImport(a *app) *cobra.Command {
	options := importOptions{}
	command := &cobra.Command{
		Use:   "import NAME",
		Short: "Hand over a refresh token that was obtained elsewhere",
		Long: `Puts a refresh token into the Secret that the account names in spec.importRefreshTokenRef, with the label that lets the operator
read it and the annotation that says which hosts may receive it, and waits until the account has taken it over.

The token is read from standard input, or asked for without showing it. It is never an argument: those are seen by others.
Whoever used the token before must have stopped: where a refresh token is good for one use, two users spend each other's.`,
		Example: `  kubectl oauth import acme -n shop
  kubectl oauth import acme -n shop < token.txt`,
		Args: exactly("NAME"),
		RunE: func(command *cobra.Command, names []string) error {
			return a.importToken(command.Context(), names[0], options)
		},
		ValidArgsFunction: a.completeAccount,
	}
	command.Flags().StringSliceVar(&options.hosts, "host", nil, "which hosts may receive the token; usually that of the client's token endpoint")
	command.Flags().BoolVar(&options.replace, "replace", false, "put the token into the Secret although there is one already")
	a.addTimeout(command, shortWait)
	a.addOutput(command)
	return command
}

func (a *app) importToken(ctx context.Context, name string, options importOptions) error {
	found, account, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	ref := account.Spec.ImportRefreshTokenRef
	if ref.Name == "" {
		return failf(ExitWrong, "the account imports nothing. Let it do so: %s", line("kubectl", "-n", account.Namespace, "patch", "connectedaccount", account.Name,
			"--type=merge", fmt.Sprintf(`--patch={"spec":{"importRefreshTokenRef":{"name":%q,"key":"refresh_token"}}}`, account.Name+"-import")))
	}
	source := &corev1.Secret{}
	key := types.NamespacedName{Namespace: account.Namespace, Name: ref.Name}
	if err := found.get(ctx, key, source); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := mayFill(source, ref.Key, options.replace); err != nil {
		return err
	}
	if options.hosts, err = receivers(ctx, found, account, source, options.hosts); err != nil {
		return err
	}
	token, err := a.readToken(ctx, account, options.hosts)
	if err != nil {
		return err
	}
	before := source.DeepCopy()
	if err := fill(ctx, found, key, source, sourceContent(account, token, options.hosts)); err != nil {
		return err
	}
	a.tellf("%s/%s: the Secret %s holds the refresh token, for %s", account.Namespace, account.Name, ref.Name, strings.Join(options.hosts, ", "))
	return a.await(ctx, found, account, "the import", func(changed *v1alpha1.ConnectedAccount) *outcome {
		now := &corev1.Secret{}
		if err := found.get(ctx, key, now); err != nil {
			return nil // it is looked at again when the account changes
		}
		return importOutcome(account, changed, before, now, found)
	})
}

// receivers are the hosts that may receive the token: those that the user names, or that the Secret names already, or that of
// the client's token endpoint. Where the Secret names others than that, somebody meant it.
func receivers(ctx context.Context, from *cluster, account *v1alpha1.ConnectedAccount, source *corev1.Secret, named []string) ([]string, error) {
	for _, host := range named {
		if strings.ContainsAny(host, "/@?# ") || originOf(v1alpha1.Endpoint("https://"+host)) == "" {
			return nil, failf(ExitUsage, "%q is no host: write one such as provider.example, or provider.example:8443", clean(host))
		}
	}
	if len(named) > 0 {
		return named, nil
	}
	owner := &v1alpha1.OAuthClient{}
	if err := from.get(ctx, types.NamespacedName{Namespace: clientNamespace(account), Name: account.Spec.ClientRef.Name}, owner); err != nil {
		return nil, failf(codeOf(ctx, err), "say with --host which host may receive the token, since the client cannot be read: %w", err)
	}
	_, host, _ := strings.Cut(originOf(owner.Spec.Endpoints.Token), "://")
	host = strings.TrimSuffix(host, ":443")
	annotation, limited := source.Annotations[v1alpha1.AnnotationHosts]
	switch {
	case host == "":
		return nil, failf(ExitFailed, "say with --host which host may receive the token: the client names none")
	case limited && !receives(listedIn(annotation), owner.Spec.Endpoints.Token):
		return nil, failf(ExitWrong, "the Secret %s says that what is in it goes to %s, and the client sends it to %s: if that may have it, say --host %s", source.Name, cmp.Or(some(listedIn(annotation)), "nobody"), host, host)
	case limited:
		return listedIn(annotation), nil
	}
	return []string{host}, nil
}

// mayFill refuses to touch a Secret that is there for something else, or holds a token already.
func mayFill(source *corev1.Secret, key string, replace bool) error {
	switch {
	case source.ResourceVersion == "":
		return nil
	case source.Labels[v1alpha1.LabelCredential] != "true":
		return failf(ExitWrong, "there is a Secret %s already, which is not meant for the operator: it lacks the label %s=true. Name another one in spec.importRefreshTokenRef", source.Name, v1alpha1.LabelCredential)
	case replace || len(source.Data[key]) == 0:
		return nil
	case source.Annotations[v1alpha1.AnnotationImported] == "":
		return failf(ExitWrong, "the Secret %s has something under the key %s already, which no account has taken over yet: if it is kept elsewhere, or worth nothing, put the new token in its place with --replace", source.Name, key)
	default:
		return failf(ExitWrong, "the Secret %s has a refresh token under the key %s already, which was taken over: to put another one into it, say --replace", source.Name, key)
	}
}

// readToken reads the token, from a person without showing it.
func (a *app) readToken(ctx context.Context, account *v1alpha1.ConnectedAccount, hosts []string) (secret.Value, error) {
	var text []byte
	var err error
	if a.system.InTerminal {
		fmt.Fprintf(a.system.Err, "Whoever used the refresh token before must have stopped. It will be sent to %s.\nRefresh token for %s/%s (not shown): ", //nolint:errcheck // there is nobody left to tell
			strings.Join(hosts, ", "), account.Namespace, account.Name)
		text, err = a.system.ReadHidden(ctx)
		a.tellf("")
	} else {
		text, err = within(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.system.In, maxToken+3)) })
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("read the refresh token: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n") // an editor, or echo, ends the line
	switch {
	case len(text) == 0:
		return secret.Value{}, failf(ExitUsage, "there is no refresh token on standard input")
	case len(text) > maxToken:
		return secret.Value{}, failf(ExitUsage, "what is on standard input is no refresh token: it has more than %d bytes", maxToken)
	case bytes.ContainsFunc(text, func(each rune) bool { return each <= ' ' || each > '~' }):
		return secret.Value{}, failf(ExitUsage, "what is on standard input is no refresh token: it has characters in it that a token has not (RFC 6749 appendix A.17)")
	}
	return secret.New(string(text)), nil
}

// sourceContent is the Secret as it has to be.
func sourceContent(account *v1alpha1.ConnectedAccount, token secret.Value, hosts []string) *corev1.Secret {
	ref := account.Spec.ImportRefreshTokenRef
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: account.Namespace, Name: ref.Name, Labels: map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: strings.Join(hosts, ",")},
		},
		Data: map[string][]byte{ref.Key: []byte(token.Reveal())},
	}
}

// fill writes the Secret. One that is there keeps what else is in it, and must be as it was when it was looked at.
func fill(ctx context.Context, in *cluster, key types.NamespacedName, source, content *corev1.Secret) error {
	if source.ResourceVersion == "" {
		return in.create(ctx, content)
	}
	merge, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": source.ResourceVersion, "labels": content.Labels, "annotations": content.Annotations},
		"data":     content.Data,
	})
	if err != nil {
		return errors.New("the Secret cannot be written") // the cause could quote the token
	}
	return in.patch(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}, merge)
}

// importOutcome is what came of the token that was put into the Secret; nil: nothing yet.
func importOutcome(before, account *v1alpha1.ConnectedAccount, was, source *corev1.Secret, from *cluster) *outcome {
	view, now := viewOf(account, from.clock.Now()), from.clock.Now()
	mark, earlier := source.Annotations[v1alpha1.AnnotationImported], was.Annotations[v1alpha1.AnnotationImported]
	if mark != earlier && strings.HasPrefix(mark, string(account.UID)+" ") {
		failed, known := account.Status.Failures.LastFailureTime, before.Status.Failures.LastFailureTime
		switch {
		case view.Ready && account.Status.Rotations > before.Status.Rotations+1, view.Ready && view.LastRefreshTime != nil && !view.LastRefreshTime.Equal(before.Status.LastRefreshTime):
			return &outcome{
				Outcome: "Imported", Message: "the account has taken the refresh token over; " + view.token(now) + ". What is in the Secret " + source.Name + " is spent: delete it",
				Commands: []string{line("kubectl", "-n", source.Namespace, "delete", "secret", source.Name)},
			}
		case failed != nil && (known == nil || failed.After(known.Time)):
			return unwell(account, "the token was taken over, and its first use has failed: ")
		}
		return nil
	}
	if printed, is := printedIn(account, authorization(account)); is && printed.key == v1alpha1.AnnotationReplaceGrant {
		return &outcome{
			Outcome: "Waiting", code: ExitWrong, Message: "the account has a grant that works, and imports the token when that ends. To give the present grant up for it:",
			Commands: []string{own("adopt", account)},
		}
	}
	condition := failing(account, v1alpha1.ConditionAuthorized)
	if condition == nil || condition.Reason == v1alpha1.ReasonAuthorizationRequired || condition.Reason == v1alpha1.ReasonSecretNotFound {
		return nil
	}
	if said := failing(before, v1alpha1.ConditionAuthorized); said != nil && said.Reason == condition.Reason && said.Message == condition.Message {
		return nil
	}
	return unwell(account, "the token is not taken over: ")
}

// authorization is the condition that says whether there is a grant, and what is asked about it; nil: nothing yet.
func authorization(account *v1alpha1.ConnectedAccount) *metav1.Condition {
	return meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionAuthorized)
}
