package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

const (
	outputJSON = "json"
	outputYAML = "yaml"
	// longWait is for a person, shortWait for the operator.
	longWait  = 15 * time.Minute
	shortWait = 2 * time.Minute
)

// app is one run.
type app struct {
	system    System
	loading   clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
	output    string
	timeout   time.Duration
}

const about = `Shows and mends the OAuth accounts of a cluster that oauth-operator keeps fresh.

It talks to the API server alone, with your own rights.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 something is not well, as an account that is not ready; 4 a right is missing;
5 it did not come in time; 130 interrupted.`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-oauth",
		Short:         "Show and mend OAuth accounts",
		Long:          about,
		Version:       a.system.Version,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl oauth"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // or an unknown command would be an error without a code
		RunE: func(command *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				return failf(ExitUsage, "there is no command %s: kubectl oauth --help lists them", arguments[0])
			}
			return command.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &failure{ExitUsage, err} })
	a.addKubeFlags(root.PersistentFlags())
	completeFlag(root, "namespace", a.namespaces)
	completeFlag(root, "context", a.contexts)
	root.AddCommand(
		newStatus(a), newAuthorize(a), newRefresh(a), newImport(a), newAdopt(a), newDoctor(a), newToken(a),
	)
	return root
}

// addKubeFlags adds kubectl's own flags about where the cluster is and who one is there. Help shows those that are used daily.
func (a *app) addKubeFlags(flags *pflag.FlagSet) {
	a.loading = *clientcmd.NewDefaultClientConfigLoadingRules()
	flags.StringVar(&a.loading.ExplicitPath, "kubeconfig", "", "Path to the kubeconfig file")
	clientcmd.BindOverrideFlags(&a.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	shown := []string{"kubeconfig", "context", "namespace", "as", "as-group", "request-timeout"}
	flags.VisitAll(func(flag *pflag.Flag) { flag.Hidden = !slices.Contains(shown, flag.Name) })
}

// addOutput adds -o. The command must check it with checkFlags before it does anything.
func (a *app) addOutput(command *cobra.Command) {
	command.Flags().StringVarP(&a.output, "output", "o", "", "json or yaml, for programs")
	completeFlag(command, "output", func(context.Context) []string { return []string{outputJSON, outputYAML} })
}

// addTimeout adds --timeout. The commands share the app, and differ in what is usual: so it is set by the one that runs.
func (a *app) addTimeout(command *cobra.Command, usual time.Duration) {
	var timeout time.Duration
	command.Flags().DurationVar(&timeout, "timeout", usual, "for how long to wait for the outcome; 0: do not wait")
	command.PreRun = func(*cobra.Command, []string) { a.timeout = timeout }
}

func (a *app) checkFlags() error {
	if a.timeout < 0 {
		return failf(ExitUsage, "%s is no time to wait: write one such as 90s, or 0", a.timeout)
	}
	if a.output != "" && a.output != outputJSON && a.output != outputYAML {
		return failf(ExitUsage, "unknown output %q: write json or yaml", a.output)
	}
	return nil
}

// exactly wants so many arguments, and says what they are.
func exactly(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, arguments []string) error {
		if len(arguments) != len(names) {
			return failf(ExitUsage, "usage: %s", command.UseLine())
		}
		for _, argument := range arguments {
			if err := checkName(argument); err != nil {
				return err
			}
		}
		return nil
	}
}

func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "/ ") {
		return failf(ExitUsage, "%q is not the name of an account: its namespace goes into -n", clean(name))
	}
	return nil
}

// connect finds the cluster, and the namespace that is meant.
func (a *app) connect() (*cluster, string, error) {
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&a.loading, &a.overrides)
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", err
	}
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, "", err
	}
	found, err := connect(rest, a.system.Err, a.system.Clock)
	return found, namespace, err
}

// target connects and reads the account that is named.
func (a *app) target(ctx context.Context, name string) (*cluster, *v1alpha1.ConnectedAccount, error) {
	if err := a.checkFlags(); err != nil {
		return nil, nil, err
	}
	found, namespace, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	account, err := found.account(ctx, types.NamespacedName{Namespace: namespace, Name: name})
	return found, account, err
}

// forPrograms writes a value in the form that -o asks for; false: a person reads it.
func (a *app) forPrograms(value any) (done bool, err error) {
	switch a.output {
	case outputJSON:
		encoder := json.NewEncoder(a.system.Out)
		encoder.SetIndent("", "  ")
		return true, encoder.Encode(value)
	case outputYAML:
		text, err := yaml.Marshal(value)
		if err == nil {
			_, err = a.system.Out.Write(text)
		}
		return true, err
	default:
		return false, nil
	}
}

// tellf says how far it is, to a person.
func (a *app) tellf(format string, arguments ...any) {
	fmt.Fprintf(a.system.Err, format+"\n", arguments...) //nolint:errcheck // there is nobody left to tell
}

// outcome is what came of a command about one account.
type outcome struct {
	Account accountView `json:"account"`
	// Outcome is one word.
	Outcome string `json:"outcome"`
	Message string `json:"message"`
	// Commands are what to type next.
	Commands []string `json:"commands,omitempty"`
	code     int
}

// conclude prints an outcome, and ends the command with its code.
func (a *app) conclude(result outcome) error {
	if done, err := a.forPrograms(result); done || err != nil {
		return errors.Join(err, said(result.code))
	}
	if _, err := fmt.Fprint(a.system.Out, renderOutcome(a.painter(), result)); err != nil {
		return err
	}
	return said(result.code)
}

// renderOutcome writes an outcome for a person.
func renderOutcome(p painter, result outcome) string {
	in := green
	if result.code != ExitDone {
		in = red
	}
	text := p.paint(bold, result.Account.Namespace+"/"+result.Account.Name) + " " + p.paint(in, result.Outcome) + "\n" + p.wrap("  ", result.Message)
	for _, command := range result.Commands {
		text += "    " + p.paint(cyan, command) + "\n"
	}
	return text
}

// await follows an account until the function has an outcome. When the time is over, what is known then is told.
func (a *app) await(ctx context.Context, from *cluster, account *v1alpha1.ConnectedAccount, what string, judge func(*v1alpha1.ConnectedAccount) *outcome) error {
	if a.timeout == 0 {
		return a.conclude(outcome{Account: viewOf(account, from.clock.Now()), Outcome: "Asked", Message: "asked for, and not waited for"})
	}
	waiting, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	last := account
	var found *outcome
	err := from.follow(waiting, account, func(changed *v1alpha1.ConnectedAccount) bool {
		last = changed
		found = judge(changed)
		return found != nil
	})
	if found == nil && waiting.Err() != nil && ctx.Err() == nil {
		view := viewOf(last, from.clock.Now())
		found = &outcome{
			Outcome: "NotYet", code: ExitTimeout,
			Message:  fmt.Sprintf("%s has not come within %s; it may still come. The account says %s: %s", what, a.timeout, view.Reason, view.Message),
			Commands: []string{own("doctor", last)},
		}
		err = nil
	}
	if err != nil {
		return err
	}
	found.Account = viewOf(last, from.clock.Now())
	return a.conclude(*found)
}

// own is the line of a command of ours about an account.
func own(command string, account *v1alpha1.ConnectedAccount) string {
	return line("kubectl", "oauth", command, "-n", account.Namespace, account.Name)
}

// line is a command as it is typed, quoted for a shell.
func line(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote writes a word so that a shell takes it as it is.
func quote(word string) string {
	plain := func(each rune) bool {
		return each >= 'a' && each <= 'z' || each >= 'A' && each <= 'Z' || each >= '0' && each <= '9' || strings.ContainsRune("-_./:,@%+=", each)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
