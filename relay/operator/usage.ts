/** A command line, and what an operator is told when it cannot be carried out as it stands. */
import { type ParseArgsConfig, parseArgs } from 'node:util'

export class UsageError extends Error {
  readonly code = 'ERR_USAGE'
}

/** `parseArgs`, with words of our own for what does not fit. @throws UsageError */
export function parseWords<C extends ParseArgsConfig & { args: string[] }>(
  config: C,
): ReturnType<typeof parseArgs<C>> {
  try {
    return parseArgs(config)
  } catch (cause) {
    throw new UsageError(sentence(cause as Error & { code?: string }, config.args), { cause }) // TypeErrors with codes
  }
}

function sentence({ code, message }: { code?: string; message: string }, args: readonly string[]): string {
  const [, name = ''] = /'(?:-\w, )?(-[^' ]*)/.exec(message) ?? []
  const negative = args.find((word) => /^-[0-9.]/.test(word))
  switch (code) {
    case 'ERR_PARSE_ARGS_UNKNOWN_OPTION':
      return negative?.startsWith(name)
        ? `${negative} is not a whole number above 0`
        : `there is no option ${name}`
    case 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE':
      if (message.includes('does not take an argument')) return `${name} takes no value`
      return negative !== undefined && args[args.indexOf(negative) - 1] === name
        ? `${name} takes a whole number above 0, not ${negative}`
        : `${name} takes a value`
    default:
      return message.split('. ')[0]!.replace(/^U/, 'u')
  }
}
