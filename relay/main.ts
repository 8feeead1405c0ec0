#!/usr/bin/env node
/** `relayd`: the only file of the relay that knows argv, the environment, standard streams and signals. */
import { join } from 'node:path'
import { destination, pino } from 'pino'
import { MarketError } from '../market/errors.ts'
import { readConfig, readDataOption, startOptions } from './config.ts'
import { control } from './control.ts'
import { startRelay } from './relay.ts'
import { UsageError } from './usage.ts'
import { version } from './version.ts'

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const
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
  relayd status --data DIR           what a running relay says of itself
  relayd confirm-clock --data DIR    let expired records be deleted after the clock jumped
  relayd --help | --version
`

async function start(args: readonly string[]): Promise<void> {
  const config = readConfig(args, process.env)
  const log = pino({ level: config.logLevel, base: { name: 'relayd' } }, destination({ fd: 2, sync: true }))
  const passphrase = process.env.RELAYD_PASSPHRASE
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
    process.exit(exit.failed)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('uncaughtException', fatal)
  process.on('unhandledRejection', fatal)
  process.stdout.write(`${JSON.stringify({ event: 'ready', url: relay.url, key: relay.key })}\n`)
}

async function ask(command: string, args: readonly string[]): Promise<void> {
  const data = readDataOption(args, process.env)
  process.stdout.write(`${JSON.stringify(await control(join(data, 'control.json'), command))}\n`)
}

async function main([command, ...args]: readonly string[]): Promise<number> {
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${version}\n`)
    return exit.ok
  }
  if (command === '--help' || command === '-h' || command === 'help' || args.includes('--help')) {
    process.stdout.write(help)
    return exit.ok
  }
  try {
    if (command === 'start') await start(args)
    else if (command === 'status' || command === 'confirm-clock') await ask(command, args)
    else throw new UsageError(command === undefined ? 'which command?' : `there is no command ${command}`)
    return exit.ok
  } catch (error) {
    process.stderr.write(`relayd: ${(error as Error).message}\n`) // everything thrown here is an Error
    if (error instanceof MarketError && error.code === 'ERR_NOT_FOUND') return exit.unreachable
    const usage = error instanceof UsageError
    if (usage) process.stderr.write('relayd --help lists what there is\n')
    return usage ? exit.usage : exit.failed
  }
}

process.exitCode = await main(process.argv.slice(2))
