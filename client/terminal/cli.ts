/** `relay`: finds the command, runs it, turns what it throws into a sentence and an exit code. */
import { parseArgs } from 'node:util'
import { MarketError } from '../../market/errors.ts'
import { ClientError, codeOf, isAboutMoney, Refused } from '../errors.ts'
import { type Command, exitCodes, globalOptions, usageError } from './command.ts'
import { commands } from './commands/index.ts'
import { explain } from './explain.ts'
import { type GlobalValues, type Io, Session } from './session.ts'
import { jsonLine, oneLine } from './show.ts'
import { version } from './version.ts'

/** Runs the program once and returns its exit code; throws nothing. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let session = new Session(io, {})
  try {
    const { values, name, args } = findCommand(argv)
    if (values.home !== undefined && (typeof values.home !== 'string' || values.home === ''))
      throw usageError('--home takes a directory')
    session = new Session(io, values)
    const topic = name === 'help' ? args.find((arg) => !arg.startsWith('-')) : name
    const found = commands.find((one) => one.name === topic)
    if (values.help || name === 'help') return showHelp(io, found)
    if (values.version || name === 'version') {
      io.stdout.write(`${version}\n`)
      return exitCodes.ok
    }
    if (name === undefined) throw usageError('which command? relay --help lists them')
    if (found === undefined) throw usageError(`there is no command ${name}; relay --help lists them`)
    const code = await found.run(session, args)
    return code === exitCodes.ok && session.isOvercharged ? exitCodes.payment : code
  } catch (error) {
    return report(session, error)
  } finally {
    session.endBar()
  }
}

/** The first word that is not a global option or its value is the command; everything else is the command's. */
function findCommand(argv: readonly string[]): {
  values: GlobalValues & Flags
  name: string | undefined
  args: string[]
} {
  const { tokens, values } = parseArgs({
    args: [...argv],
    options: globalOptions,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const first = tokens.find((token) => token.kind === 'positional')
  const args = argv.filter((_, index) => index !== first?.index)
  return { values: values as GlobalValues & Flags, name: first?.value, args } // `strict` in the command checks their types
}

interface Flags {
  readonly help?: boolean
  readonly version?: boolean
}

function showHelp(io: Io, found: Command | undefined): number {
  io.stdout.write(found === undefined ? overviewText() : commandText(found))
  return exitCodes.ok
}

function overviewText(): string {
  const width = Math.max(...commands.map(({ name }) => name.length))
  return `relay ${version}: messages and files between friends, kept by relays until they are pulled

  relay [--home DIR] COMMAND [options]

${commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`).join('\n')}

  --home DIR   the identity's home; else RELAY_HOME, else ~/.relay
  --json       JSON lines, as when piped; --human: tables, as on a terminal
  --proxy URL  all traffic but to this machine goes through socks5h://[user:password@]host:port; else RELAY_PROXY
  --allow-private  friends' relays may be in private networks; else RELAY_ALLOW_PRIVATE=1
  --help, -h   this, or the help of a command; --version

  --max-spend SATOSHI   the most that is ever signed over in any contract, all that was signed there before included

  RELAY_PASSPHRASE opens an encrypted key.
  Exit codes: 0 ok (queued is ok), 1 failed, or relay check found something missing, 2 usage,
  3 a relay, chain or wallet was not reached, 4 refused by a relay, 5 not found,
  6 payment needed, too few coins, or a relay took more than it had quoted,
  7 relay audit found something forged, or relay check a relay that lies.
`
}

function commandText({ name, usage, summary, help }: Command): string {
  const lines = help.map((line) => `  ${line}\n`).join('')
  const title = `relay ${name} ${usage}`.trimEnd()
  return `${title}\n\n  ${summary}\n${lines === '' ? '' : `\n${lines}`}`
}

/** One sentence with its code on stderr, as an object where results are objects. */
function report(session: Session, error: unknown): number {
  const exit = exitCodeOf(error)
  session.endBar()
  const message = explain(error)
  const code = isUsage(error) ? 'ERR_USAGE' : (codeOf(error) ?? 'ERR_FAILED')
  session.io.stderr.write(
    session.isJson ? jsonLine({ error: message, code, exit }) : `relay: ${oneLine(message)} (${code})\n`,
  )
  return exit
}

/** What node:util says about options it does not know. */
const isUsage = (error: unknown): boolean =>
  codeOf(error) === 'ERR_USAGE' ||
  String((error as { code?: unknown } | null)?.code).startsWith('ERR_PARSE_ARGS')

const unreached = ['ERR_UNREACHABLE', 'ERR_NO_PROXY', 'ERR_PRIVATE_ADDRESS']

function exitCodeOf(error: unknown): number {
  if (isUsage(error)) return exitCodes.usage
  if (isAboutMoney(error) || codeOf(error) === 'ERR_INSUFFICIENT_FUNDS') return exitCodes.payment
  if (codeOf(error) === 'ERR_CHAIN_UNAVAILABLE') return exitCodes.unreachable
  if (error instanceof ClientError)
    return unreached.includes(error.code) ? exitCodes.unreachable : exitCodes.failed
  if (error instanceof MarketError && error.code === 'ERR_NOT_FOUND') return exitCodes.notFound
  return error instanceof Refused ? exitCodes.refused : exitCodes.failed
}
