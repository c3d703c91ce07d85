// Command kubelet stands in for the part of a kubelet that brings Secrets into a Pod: it writes the files of Secrets into
// folders and keeps them up to date, each change with one atomic swap, and late, as a kubelet is.
//
// A real one may take a minute or more; this one takes up to --max-delay, since the tokens of the demo live for seconds. It
// must never do anything with a Secret but write it to its folder, nor write anything to the API server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type settings struct {
	kubeconfig string
	namespace  string
	maxDelay   time.Duration
	seed       uint64
	// mounts are folders by the name of the Secret.
	mounts map[string]string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", set.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "kubelet-stand-in"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(set.namespace))
	informer := factory.Core().V1().Secrets().Informer()
	mounts := newMounts(ctx.Done(), set, log)
	take := func(object any) {
		if secret, is := object.(*corev1.Secret); is {
			mounts.changed(secret)
		}
	}
	// A Secret that is deleted stays mounted as it was, as with a kubelet.
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: take, UpdateFunc: func(_, updated any) { take(updated) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return mounts.wait()
}

func parse(args []string) (settings, error) {
	set := settings{mounts: map[string]string{}}
	flags := flag.NewFlagSet("kubelet", flag.ContinueOnError)
	flags.StringVar(&set.kubeconfig, "kubeconfig", "", "the API server, and who to be there")
	flags.StringVar(&set.namespace, "namespace", "", "namespace of the Secrets")
	flags.DurationVar(&set.maxDelay, "max-delay", 2*time.Second, "each change is written after a random time up to this")
	flags.Uint64Var(&set.seed, "seed", rand.Uint64(), "begin of the sequence of random times") //nolint:gosec // a delay is no secret
	flags.Func("mount", "SECRET=FOLDER; may be given several times", func(text string) error {
		secret, folder, found := strings.Cut(text, "=")
		if !found {
			return errors.New("want SECRET=FOLDER")
		}
		set.mounts[secret] = folder
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if set.kubeconfig == "" || set.namespace == "" || len(set.mounts) == 0 || flags.NArg() > 0 {
		return set, errors.New("usage: kubelet --kubeconfig FILE --namespace NAME --mount SECRET=FOLDER, the last once or more")
	}
	return set, nil
}
