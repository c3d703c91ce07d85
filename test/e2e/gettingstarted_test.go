package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// newcomer follows docs/getting-started.md without a cluster of their own: what is typed is what is written there.
type newcomer struct {
	t      *testing.T
	played *stage.Stage
	doc    string
	// instead is what the section "Without a cluster" has them write for what is in the steps.
	instead *strings.Replacer
	folder  string
	env     []string
}

// TestGettingStarted types what docs/getting-started.md says, from the Secret with the client secret to a call of the API, and
// to the consent of a person.
func TestGettingStarted(t *testing.T) {
	t.Parallel()
	n := arrive(t)
	n.startProvider()
	n.typeAll("Without a cluster", "bills-ca")

	n.step("3 The client", "client.yaml")
	n.step("4 A token", "account.yaml")
	n.step("5 A workload", "")
	if got := n.typeAll("Without a cluster", "--cacert"); !strings.Contains(got, "inv_1") {
		t.Errorf("the API answers %q", got)
	}

	printed := n.step("6 A person consents", "consent.yaml", "apply", "get oauthclients")
	if want := n.played.Front.URL + "/callback/shop/bills-consent"; !strings.Contains(printed, want+"\n") {
		t.Errorf("the redirect URI to register is not %s:\n%s", want, printed)
	}
	n.follow(regexp.MustCompile(`https://\S+`).FindString(n.typeAll("6 A person consents", ".status.authorizationURL")))
	n.typeAll("6 A person consents", "wait connectedaccount/acme --for=condition=Ready")
}

// arrive is somebody in front of a demo that goes on.
func arrive(t *testing.T) *newcomer {
	t.Helper()
	played := stagetest.Play(t, stage.Options{Consent: true})
	start(t, played, stage.OperatorOptions{Pages: true})
	if _, err := played.ApplyConsents(t.Context(), stage.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	developer, err := played.Kubeconfig(t.Context(), stage.Namespace, stage.Developer)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(played.Root, "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	n := &newcomer{
		t: t, played: played, doc: string(doc), folder: folder,
		instead: strings.NewReplacer("/tmp/my-provider", filepath.Join(folder, "my-provider"), "kubectl create namespace shop\n", ""),
		env: []string{
			"KUBECONFIG=" + developer, "PATH=" + filepath.Dir(played.Cluster.Kubectl) + ":" + os.Getenv("PATH"), "HOME=" + folder, "CLIENT_SECRET=my-secret",
		},
	}
	// A demo has been there for a minute.
	n.shell("kubectl -n shop wait oauthclients.oauth-operator.dev/smartbills-consent --for=jsonpath='{.status.redirectURI}' --timeout=60s")
	return n
}

// startProvider types the lines that begin with the redirect URI, and starts their last one beside everything else, on a free port.
func (n *newcomer) startProvider() {
	n.t.Helper()
	lines := strings.TrimSpace(n.block("Without a cluster", "sh", "bin/demo/provider"))
	cut := strings.LastIndexByte(lines, '\n')
	n.shell(lines[:cut])
	command := strings.Fields(n.instead.Replace(lines[cut+1:]))
	program := filepath.Join(n.folder, "provider")
	if err := stage.Build(n.t.Context(), n.played.Root, n.folder, "./test/provider/cmd/provider"); err != nil {
		n.t.Fatal(err)
	}
	arguments := strings.Split(strings.ReplaceAll(strings.Join(command[1:], "\n"), "127.0.0.1:9443", "127.0.0.1:0"), "\n")
	process, err := n.played.Run(n.t.Context(), stage.Program{Name: "my-provider", Path: program, Args: arguments})
	if err != nil {
		n.t.Fatal(err)
	}
	listening := regexp.MustCompile(`listening on https://(\S+)`)
	for deadline := time.Now().Add(patience); ; {
		log, err := os.ReadFile(process.LogFile)
		if found := listening.FindSubmatch(log); err == nil && found != nil {
			host := strings.TrimSuffix(string(found[1]), ",")
			n.instead = strings.NewReplacer(
				"/tmp/my-provider", filepath.Join(n.folder, "my-provider"), "kubectl create namespace shop\n", "",
				"127.0.0.1:9443", host, "provider.example/oauth/token", host+"/connect/token",
				"provider.example/oauth/authorize", host+"/connect/authorize", "provider.example", host,
				// Below spec of each client.
				"kind: OAuthClient\nmetadata:\n  name: bills\nspec:\n", "kind: OAuthClient\nmetadata:\n  name: bills\nspec:\n"+n.tls(),
				"kind: OAuthClient\nmetadata:\n  name: bills-consent\nspec:\n", "kind: OAuthClient\nmetadata:\n  name: bills-consent\nspec:\n"+n.tls(),
			)
			return
		}
		if process.Ended() || time.Now().After(deadline) {
			n.t.Fatalf("the provider does not listen: %s", log)
		}
	}
}

// tls is what the section "Without a cluster" has below spec.
func (n *newcomer) tls() string {
	n.t.Helper()
	return strings.TrimPrefix(n.block("Without a cluster", "yaml", "caRef"), "spec:\n")
}

// step writes a step's manifest into its file, and types what the step says: of its commands, those that have one of the words.
func (n *newcomer) step(section, file string, words ...string) string {
	n.t.Helper()
	if file != "" {
		manifest := n.instead.Replace(n.block(section, "yaml", "kind:"))
		if err := os.WriteFile(filepath.Join(n.folder, file), []byte(manifest), 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	return n.typeAll(section, words...)
}

// typeAll types the blocks of commands of a section, all of them or those that have all of the words.
func (n *newcomer) typeAll(section string, words ...string) string {
	n.t.Helper()
	var printed strings.Builder
	typed := 0
	for _, each := range n.blocks(section, "sh") {
		if containsAll(each, words) {
			printed.WriteString(n.shell(each))
			typed++
		}
	}
	if typed == 0 {
		n.t.Fatalf("the section %q has no commands with %q", section, words)
	}
	return printed.String()
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// shell types lines, and wants each of them to work.
func (n *newcomer) shell(lines string) string {
	n.t.Helper()
	command := exec.CommandContext(n.t.Context(), "bash", "-euo", "pipefail", "-c", n.instead.Replace(lines))
	command.Dir, command.Env = n.folder, n.env
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		n.t.Fatalf("%v\n%s\n%s\n%s", err, lines, complaints.String(), n.state())
	}
	return output.String()
}

// state is what the newcomer would look at next.
func (n *newcomer) state() string {
	command := exec.CommandContext(n.t.Context(), "bash", "-c", "kubectl -n shop get oauthclients.oauth-operator.dev,connectedaccounts -o wide")
	command.Env = n.env
	output, err := command.CombinedOutput()
	return fmt.Sprintf("%s%v", output, err)
}

// follow is the person whom the link was sent to.
func (n *newcomer) follow(link string) {
	n.t.Helper()
	somebody, err := person.New(person.Options{
		CAFiles: []string{n.played.Front.CAFile, filepath.Join(n.folder, "my-provider", "ca.crt")},
		Fields:  map[string]string{"login": "ada"},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	defer somebody.Close()
	page, err := somebody.Follow(n.t.Context(), link)
	if err != nil || page.Heading != "Connected" {
		n.t.Fatalf("following the link ends at %q: %v", page.Heading, err)
	}
}

// block is the one block of a section in a language that has a word.
func (n *newcomer) block(section, language, word string) string {
	n.t.Helper()
	var found []string
	for _, each := range n.blocks(section, language) {
		if strings.Contains(each, word) {
			found = append(found, each)
		}
	}
	if len(found) != 1 {
		n.t.Fatalf("the section %q has %d blocks of %s with %q, want one", section, len(found), language, word)
	}
	return found[0]
}

// blocks are the code blocks of a section, without what they are indented by.
func (n *newcomer) blocks(section, language string) []string {
	n.t.Helper()
	_, text, found := strings.Cut(n.doc, "\n## "+section+"\n")
	if !found {
		n.t.Fatalf("there is no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var all []string
	for _, each := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll("\n"+each[2], "\n"+each[1], "\n")[1:])
	}
	return all
}
