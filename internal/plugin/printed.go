package plugin

import (
	"regexp"
	"strings"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// printed is a command that a condition's message prints for whoever reads it: it sets one label or annotation of ours.
type printed struct {
	verb, kind, namespace, name, key, value string
}

// command is the line as it is typed: put together anew, so that nothing of a message gets to a shell that is not what it
// should be.
func (p printed) command() string {
	words := []string{"kubectl", p.verb}
	if p.verb == "annotate" {
		words = append(words, "--overwrite")
	}
	return line(append(words, p.kind, "-n", p.namespace, p.name, p.key+"="+p.value)...)
}

// printedIn looks for a command in a message. One that is about another namespace than those of the account and its client,
// or sets something that is not ours, is none.
func printedIn(account *v1alpha1.ConnectedAccount, message string) (printed, bool) {
	shape := regexp.MustCompile(`kubectl (label|annotate)(?: --overwrite)? (secret|connectedaccount|oauthclient) -n ([a-z0-9][a-z0-9-]*) ([a-z0-9][a-z0-9.-]*) (oauth-operator\.dev/[a-z-]+)=('(?:[^']|'\\'')*'|[^\s']+)`)
	found := shape.FindStringSubmatch(message)
	if len(found) < 7 || found[3] != account.Namespace && found[3] != clientNamespace(account) {
		return printed{}, false
	}
	value := found[6]
	if strings.HasPrefix(value, "'") {
		value = strings.ReplaceAll(value[1:len(value)-1], `'\''`, "'")
	}
	return printed{verb: found[1], kind: found[2], namespace: found[3], name: found[4], key: found[5], value: value}, true
}
