"""An interactive shell on a terminal of its own, for what happens between Tab and Enter.

Used by the thread of a test. What must stay true: completed() returns the line as the shell has it
after the keys, never what was typed; close() ends the shell.
"""

import os
import pty
import re
import select
import signal
import time

LINE_START, LINE_END = "\x02line", "\x03"  # around the line that the shell prints; never echoed
KILL_LINE, SHOW = "\x15", "\x14"           # Ctrl-U, and Ctrl-T, bound to print the line

# Both: Tab completes, Ctrl-G Ctrl-G puts all that fits on the line.
BASH = r"""
PS1=
bind 'set enable-bracketed-paste off' 'set show-all-if-ambiguous off' 'set bell-style none'
bind '"\C-g\C-g": insert-completions'
bind -x '"\C-t": printf "\002line%s\003" "$READLINE_LINE"'
"""
ZSH = r"""
PS1= PROMPT_EOL_MARK= ; unsetopt zle_bracketed_paste prompt_sp beep
autoload -Uz compinit && compinit -u -D
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
zle -C all-matches complete-word _generic
show-line() { printf '\002line%s\003' "$BUFFER"; }
zle -N show-line
bindkey -e; bindkey '^T' show-line; bindkey '^G^G' all-matches
"""


class Shell:
    """`kind` is bash or zsh; `script` is what a user would have in the file it reads at start."""

    def __init__(self, kind, script, **environment):
        words = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[kind]
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(environment, TERM="dumb", COLUMNS="4000", LC_ALL="C.UTF-8")
            os.execvp(words[0], words)
        self.type({"bash": BASH, "zsh": ZSH}[kind] + script + "\nprintf '\\002line%s\\003' ready\n")
        assert self.line() == "ready"

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def line(self, timeout=30):
        """The next line that the shell shows."""
        seen, end = "", time.monotonic() + timeout
        while True:
            found = re.search(f"{LINE_START}(.*?){LINE_END}", seen, re.DOTALL)
            if found:
                return found[1]
            left = end - time.monotonic()
            assert left > 0 and select.select([self.terminal], [], [], left)[0], seen[-2000:]
            seen += os.read(self.terminal, 65536).decode(errors="replace")

    def completed(self, typed, keys="\t"):
        self.type(KILL_LINE + typed + keys + SHOW)
        return self.line()

    def all(self, typed):
        """Every word that fits at the end of the line."""
        begin = typed.rpartition(" ")[0]
        line = self.completed(typed, "\x07\x07")
        assert line.startswith(begin), line
        return line[len(begin):].split()

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)
