package controller_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// terminal is a shell in a folder of its own, in which kubectl is the administrator's. In place of the namespace of the
// documentation's examples it uses the stage's.
type terminal struct {
	folder, namespace string
	environment       []string
}

func (s *stage) terminal() *terminal {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	kubeconfig := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(suite.cluster.WriteKubeconfig(kubeconfig, suite.cluster.Admin)).To(Succeed())
	return &terminal{folder, s.namespace, append(os.Environ(),
		"KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+filepath.Dir(kubeconfig), "PATH="+filepath.Dir(suite.cluster.Kubectl)+":"+os.Getenv("PATH"))}
}

// types runs a line as a person would, and returns what it prints.
func (t *terminal) types(ctx context.Context, lines string) string {
	GinkgoHelper()
	shell := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(lines, "-n shop ", "-n "+t.namespace+" "))
	shell.Dir, shell.Env = t.folder, t.environment
	output, err := shell.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s\n%s", lines, output)
	return string(output)
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)\n *```")

// documented is the block of shell lines in docs/operations.md that holds all of the words.
func documented(words ...string) string {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, block := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		holds := true
		for _, word := range words {
			holds = holds && strings.Contains(block[1], word)
		}
		if holds {
			found = append(found, block[1])
		}
	}
	Expect(found).To(HaveLen(1), "blocks with %q", words)
	return found[0]
}

// kubectlLine is a command that a condition prints.
var kubectlLine = regexp.MustCompile(`kubectl \S.*$`)

var _ = Describe("An account that was backed up", Serial, func() {
	// lost takes the account and the keyring away, as an accident would.
	lost := func(ctx context.Context, s *stage, account *v1alpha1.ConnectedAccount) {
		GinkgoHelper()
		s.remove(ctx, account)
		Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, s.sourceSecret("acme-token", "")))).To(Succeed())
		Expect(suite.admin.Delete(ctx, keyringSecret())).To(Succeed())
	}

	It("is restored as the documentation says, and sends nothing before it is adopted", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account, shell := s.connect(ctx, v1alpha1.RefreshTokens{}, "acme")[0], s.terminal()
		rotates(ctx, account)
		stored := get(ctx, keyringSecret())
		DeferCleanup(func(ctx SpecContext) {
			if apierrors.IsNotFound(suite.admin.Get(ctx, client.ObjectKeyFromObject(stored), keyringSecret())) {
				putKeyring(ctx, stored)
			}
		})

		By("backing up")
		shell.types(ctx, documented("for entry in", "> $entry"))
		asleep := strings.Split(documented("--for='jsonpath", `"suspend":true`), "\n")
		Expect(shell.types(ctx, strings.Join(asleep[:2], "\n"))).To(ContainSubstring("condition met"))
		Expect(shell.types(ctx, asleep[2])).To(BeEmpty())
		shell.types(ctx, documented("> acme.json"))
		for _, name := range []string{"acme.json", seal.SealingKeyset, seal.FingerprintKeyset} {
			made, err := os.Stat(filepath.Join(shell.folder, name))
			Expect(err).NotTo(HaveOccurred())
			Expect(made.Mode().Perm()).To(Equal(os.FileMode(0o600)), name)
		}
		for _, entry := range []string{seal.SealingKeyset, seal.FingerprintKeyset} {
			saved, err := os.ReadFile(filepath.Join(shell.folder, entry))
			Expect(err).NotTo(HaveOccurred())
			Expect(bytes.Equal(saved, stored.Data[entry])).To(BeTrue(), "the file holds what the Secret does") // a failure must not print it
		}

		lost(ctx, s, account)
		requests := s.provider.TokenRequests()

		By("restoring")
		shell.types(ctx, documented("create secret generic oauth-operator-keyring"))
		restored := s.account("acme", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec, a.Spec.Suspend = *account.Spec.DeepCopy(), true })
		restored.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{}
		s.create(ctx, restored)
		Eventually(authorized(ctx, restored)).Should(Equal("False AuthorizationRequired"))
		shell.types(ctx, documented("--subresource=status"))
		Eventually(authorized(ctx, restored)).Should(Equal("False CredentialFromElsewhere"))
		shell.types(ctx, documented(`"suspend":false`))
		s.guarded(ctx, restored, "credential not ours or not readable")
		Expect(s.provider.TokenRequests()).To(Equal(requests))

		Expect(documented(v1alpha1.AnnotationAdopt+"=")).To(HavePrefix("kubectl annotate --overwrite connectedaccount -n shop acme "+v1alpha1.AnnotationAdopt+"="), "the documentation and the condition say the same")
		shell.types(ctx, kubectlLine.FindString(authorizedMessage(ctx, restored)))
		becomesReady(ctx, restored)
		s.goesOn(ctx, restored)
	})

	It("is restored into another cluster with the keyring of the first", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account, shell := s.connect(ctx, v1alpha1.RefreshTokens{}, "acme")[0], s.terminal()
		rotates(ctx, account)
		held, there := opened(ctx, account), subjectOf(ctx, account)
		there.ClusterID, there.UID = "the-first-cluster", "the-first-account"
		sealed, err := installedKeyring().Seal(seal.PurposeCredential, there, held)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(shell.folder, "acme.json"), []byte(`{"status":{"sealedCredential":"`+sealed+`",
			"boundTo":{"clusterID":"the-first-cluster","accountUID":"the-first-account"}}}`), 0o600)).To(Succeed())
		s.remove(ctx, account)
		Expect(suite.admin.Delete(ctx, s.sourceSecret("acme-token", ""))).To(Succeed())

		arrived := s.account("acme", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec = *account.Spec.DeepCopy() })
		arrived.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{}
		s.create(ctx, arrived)
		Eventually(authorized(ctx, arrived)).Should(Equal("False AuthorizationRequired"))
		shell.types(ctx, documented("--subresource=status"))
		Eventually(authorized(ctx, arrived)).Should(Equal("False CredentialFromElsewhere"))
		s.guarded(ctx, arrived, "credential not ours or not readable")
		shell.types(ctx, kubectlLine.FindString(authorizedMessage(ctx, arrived)))
		becomesReady(ctx, arrived)
		s.goesOn(ctx, arrived)
	})

	It("S41 has its key rotated and retired by the lines of the documentation", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account, shell := s.connect(ctx, v1alpha1.RefreshTokens{}, "acme")[0], s.terminal()
		old, before := installedKeyring().ID(), len(installedKeyring().Keys())
		DeferCleanup(askNothing)
		shell.types(ctx, documented(v1alpha1.AnnotationRotateKey))
		Eventually(func() string {
			return shell.types(ctx, documented("get events", controller.KeyringName))
		}).WithPolling(time.Second).Should(ContainSubstring("KeyAdded"))
		// The event may be an earlier spec's. The minute begins when the operator sees the new key.
		Eventually(func() int { return len(installedKeyring().Keys()) }).Should(BeNumerically(">", before))
		added := installedKeyring().Keys()[before].ID
		comes(added, seal.KeyPrimary)
		Eventually(func() string {
			return shell.types(ctx, documented("uniq -c"))
		}).WithPolling(time.Second).Should(MatchRegexp(`(?m)^ *\d+ ` + added + `$`))
		Eventually(sealedUnder(ctx, account)).Should(Equal(map[string]int{added: 1}))

		shell.types(ctx, "old="+old+"\n"+documented(v1alpha1.AnnotationRetireKey))
		suite.clock.ahead.Add(int64(time.Hour))
		comes(old, "")
		Expect(shell.types(ctx, documented("get events", controller.KeyringName))).To(ContainSubstring("KeyRetired"))
		s.goesOn(ctx, account)
	})
})
