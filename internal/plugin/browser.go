package plugin

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"os/exec"
	"strings"
)

// checkLink refuses whatever is no link that a browser may be sent to: it comes from a status. http is for loopback, where
// nobody else listens. It has no characters but those that our links have: what opens them on some machines is a script, and hands
// them on to another one.
func checkLink(link string) error {
	parsed, err := url.Parse(link)
	switch {
	case strings.ContainsFunc(link, strangeInALink):
		return errors.New("it has characters in it that no link of ours has")
	case err != nil:
		return errors.New("it is no URL")
	case parsed.Opaque != "" || parsed.Hostname() == "":
		return errors.New("it names no host")
	case parsed.User != nil:
		return errors.New("it has a user name in it")
	case parsed.Scheme == "https":
		return nil
	case parsed.Scheme == "http" && loopback(parsed.Hostname()):
		return nil
	default:
		return errors.New("it does not begin with https://")
	}
}

func strangeInALink(each rune) bool {
	return (each < 'a' || each > 'z') && (each < 'A' || each > 'Z') && (each < '0' || each > '9') && !strings.ContainsRune("-._~:/?=[]", each)
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// opener is the program that shows a link in the user's browser, with its arguments before the link; nothing, where there is
// no screen. No shell is between.
func opener(system string, getenv func(string) string) []string {
	switch {
	case system == "darwin":
		return []string{"open"}
	case system == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	case getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != "":
		return []string{"xdg-open"}
	case getenv("WSL_DISTRO_NAME") != "":
		return []string{"wslview"}
	default:
		return nil
	}
}

// OpenBrowser is System.Open for the machine's own browser.
func OpenBrowser(system string, getenv func(string) string) func(context.Context, string) error {
	return func(ctx context.Context, link string) error {
		if err := checkLink(link); err != nil {
			return err
		}
		words := opener(system, getenv)
		if len(words) == 0 {
			return errors.New("there is no screen here")
		}
		// A browser may outlive this program, so that it must not end with it.
		command := exec.CommandContext(context.WithoutCancel(ctx), words[0], append(words[1:], link)...) //nolint:gosec // the program is one of four, and the link was checked
		if err := command.Start(); err != nil {
			return err
		}
		go func() { _ = command.Wait() }()
		return nil
	}
}
