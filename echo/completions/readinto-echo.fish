# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_readinto_echo_global_optspecs
	string join \n h/help V/version
end

function __fish_readinto_echo_needs_command
	# Figure out if the current invocation already has a command.
	set -l cmd (commandline -opc)
	set -e cmd[1]
	argparse -s (__fish_readinto_echo_global_optspecs) -- $cmd 2>/dev/null
	or return
	if set -q argv[1]
		# Also print the command, so this can be used to figure out what it is.
		echo $argv[1]
		return 1
	end
	return 0
end

function __fish_readinto_echo_using_subcommand
	set -l cmd (__fish_readinto_echo_needs_command)
	test -z "$cmd"
	and return 1
	contains -- $cmd[1] $argv
end

complete -c readinto-echo -n "__fish_readinto_echo_needs_command" -s h -l help -d 'Print help'
complete -c readinto-echo -n "__fish_readinto_echo_needs_command" -s V -l version -d 'Print version'
complete -c readinto-echo -n "__fish_readinto_echo_needs_command" -f -a "serve" -d 'Send every frame back to where it came from'
complete -c readinto-echo -n "__fish_readinto_echo_needs_command" -f -a "bench" -d 'Send frames to an echo server, check every byte that returns, and time it'
complete -c readinto-echo -n "__fish_readinto_echo_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l listen -d 'Where to listen: host:port, [v6]:port or unix:/path; can be repeated' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l allow -d 'The network that connections are accepted from, as 10.0.0.0/8; can be repeated [default: all]' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l mode -d 'Who may connect to a Unix socket: the mode of its file' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l prefix -d 'How the length before each frame is written: u16, u32 or u64, be or le' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l max-frame -d 'The longest frame that is accepted' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l max-connections -d 'How many connections are served at once; further ones wait' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l threads -d 'How many threads serve, each with its share of --max-connections and --memory-budget' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l idle-timeout -d 'How long a connection may be silent between two frames' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l frame-timeout -d 'How long a frame may take to arrive, from its first byte to its last' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l stall-timeout -d 'How long a peer may take none of its answers' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l shortage-timeout -d 'How long a frame may hold memory while others wait for some, under --memory-budget' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l drain-timeout -d 'How long frames in flight have to finish after SIGTERM' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l memory-budget -d 'The most memory for frames, of all connections together; frames that don\'t fit wait, and one of more than three quarters of a thread\'s share ends its connection' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l busy-poll -d 'For how long to poll after the last event before going to sleep' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l stats -d 'How often to say what is going on; SIGUSR1 asks for it at any time until the end begins' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l metrics -d 'Where to answer GET /metrics with what is going on, for Prometheus' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -l stats-json -d 'Say it as JSON, an object for each line'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand serve" -s h -l help -d 'Print help'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l connect -d 'The server to use; without it, one is started in this process' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l prefix -d 'How the length before each frame is written: u16, u32 or u64, be or le' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l frame-size -d 'The payload of each frame' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l frames -d 'How many frames each connection sends' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l connections -d 'How many connections there are' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l pipeline -d 'How many frames of a connection may be under way at once' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l warmup -d 'How many frames each connection sends before they are counted' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l timeout -d 'How long to wait for one answer, or for a connection' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l busy-poll -d 'For how long to poll after the last event before going to sleep, here and in the own server' -r
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l json -d 'Report as JSON'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -l no-verify -d 'Don\'t check the bytes that return, only their number'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand bench" -s h -l help -d 'Print help'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand help; and not __fish_seen_subcommand_from serve bench help" -f -a "serve" -d 'Send every frame back to where it came from'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand help; and not __fish_seen_subcommand_from serve bench help" -f -a "bench" -d 'Send frames to an echo server, check every byte that returns, and time it'
complete -c readinto-echo -n "__fish_readinto_echo_using_subcommand help; and not __fish_seen_subcommand_from serve bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
