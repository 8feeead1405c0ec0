#!/usr/bin/env node
/** `relayd`: the only file of the relay that knows argv, the environment, standard streams and signals. */
import { createInterface } from 'node:readline/promises'
import { destination, pino } from 'pino'
import { MarketError } from '../market/errors.ts'
import { exitCodes } from './operator/command.ts'
import { commands } from './operator/commands.ts'
import { readConfig } from './config.ts'
import { UsageError } from './operator/usage.ts'
import { startOptions } from './start-options.ts'
import { version } from './version.ts'

/** How long a stopping relay may take to finish what it accepted. */
const stopMs = 10_000

const help = `relayd ${version}: stores signed, encrypted records and serves them to those they are for

  relayd start --data DIR [options]
${Object.entries(startOptions)
  .map(([name, option]) => {
    const flag = 'value' in option ? `--${name} ${option.value}` : `--${name}`
    return `      ${flag.padEnd(26)}${option.help}`
  })
  .join('\n')}
      Every option is also a variable: --min-free-disk is RELAYD_MIN_FREE_DISK.
      RELAYD_PASSPHRASE encrypts the relay's key at rest.

${Object.values(commands)
  .map(({ usage, summary }) => `  relayd ${usage}\n      ${summary}`)
  .join('\n')}
  relayd --help | --version

  All but devnet take --data DIR (or RELAYD_DATA) and print tables on a terminal or with --human, JSON lines when piped or with --json.
  Exit codes: 0 ok, 1 failed, 2 usage, 3 no relay is running or the chain does not answer,
  5 not found, 6 more than the coins there are, 7 the books do not agree.
`

const isHelp = (word: string): boolean => word === '--help' || word === '-h'

/** Of one command, where there is more to say than of all. */
function helpOf(name = ''): string {
  const found = Object.hasOwn(commands, name) ? commands[name] : undefined
  return found === undefined ? help : `relayd ${found.usage}\n    ${found.summary}\n`
}

async function start(args: readonly string[]): Promise<void> {
  const config = readConfig(args, process.env)
  const log = pino({ level: config.logLevel, base: { name: 'relayd' } }, destination({ fd: 2, sync: true }))
  const passphrase = process.env.RELAYD_PASSPHRASE
  // Only here: a command of the operator is a fraction of a second, and need not load the server.
  const { startRelay } = await import('./relay.ts')
  const relay = await startRelay(config, { log, ...(passphrase && { passphrase }) })
  let stopping = false
  const stop = (signal: string) => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'stopping')
    setTimeout(() => fatal(new Error('did not stop in time')), stopMs).unref()
    relay.close().then(() => log.info('stopped'), fatal)
  }
  const fatal = (error: unknown) => {
    log.fatal({ err: error }, 'relay failed')
    process.exit(exitCodes.failed)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('uncaughtException', fatal)
  process.on('unhandledRejection', fatal)
  const { url, key, metricsUrl: metrics, network, devnetUrl: devnet } = relay
  process.stdout.write(`${JSON.stringify({ event: 'ready', url, key, metrics, network, devnet })}\n`)
}

async function carryOut(name: string, args: readonly string[]): Promise<number> {
  const found = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (found === undefined) throw new UsageError(`there is no command ${name}`)
  const interrupt = new AbortController()
  if (found.heedsInterrupt)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort())
  const isTerminal = process.stdout.isTTY === true
  const out = (text: string) => void process.stdout.write(`${text}\n`)
  const { signal } = interrupt
  const ask = process.stdin.isTTY === true ? (question: string) => asked(question, signal) : undefined
  return found.run({ env: process.env, isTerminal, signal, out, ask }, args)
}

/** On the terminal, whatever becomes of the results. */
async function asked(question: string, signal: AbortSignal): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(?:es)?$/i.test((await terminal.question(`${question} [y/N] `, { signal })).trim())
  } finally {
    terminal.close()
  }
}

async function main([command, ...args]: readonly string[]): Promise<number> {
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${version}\n`)
    return exitCodes.ok
  }
  if (command === '--help' || command === '-h' || command === 'help' || args.some(isHelp)) {
    process.stdout.write(helpOf(command === 'help' ? args[0] : command))
    return exitCodes.ok
  }
  try {
    if (command === undefined) throw new UsageError('which command?')
    if (command !== 'start') return await carryOut(command, args)
    await start(args)
    return exitCodes.ok
  } catch (error) {
    process.stderr.write(`relayd: ${(error as Error).message}\n`) // everything thrown here is an Error
    if (error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE') return exitCodes.unreachable
    if (error instanceof MarketError && error.code === 'ERR_INSUFFICIENT_FUNDS') return exitCodes.payment
    if (error instanceof MarketError && error.code === 'ERR_NOT_FOUND')
      return error.extras.reason === 'not running' ? exitCodes.unreachable : exitCodes.notFound
    const usage = error instanceof UsageError
    if (usage) process.stderr.write('relayd --help lists what there is\n')
    return usage ? exitCodes.usage : exitCodes.failed
  }
}

process.exitCode = await main(process.argv.slice(2))
