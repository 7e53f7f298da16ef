import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { requireProgram, run } from '../services/apt.js'
import { mavenJars, type Artifact } from '../services/maven.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { describeBuilt } from '../support/built.js'

/** A Java program that is compiled when it is tested, with the libraries it needs from Maven Central. */
export interface JavaSource {
  /** One file, whose class is named as the file is and has a `main`. */
  readonly source: URL
  readonly artifact: Artifact
  /** What the artifact needs without saying so. */
  readonly beside?: readonly Artifact[]
}

/** Starts the program in a JVM of its own. It talks in lines; what it prints on standard error is shown if it fails. */
export type StartJava = (...args: readonly string[]) => LineProcess

async function compile(
  { source, artifact, beside }: JavaSource,
  folder: string,
): Promise<{ java: string; classPath: string }> {
  const javac = await requireProgram('default-jdk-headless', 'javac')
  const java = await requireProgram('default-jre-headless', 'java')
  const jars = join(await mavenJars(artifact, beside), '*')
  await run(javac, ['-cp', jars, '-d', folder, fileURLToPath(source)])
  return { java, classPath: [folder, jars].join(delimiter) }
}

/**
 * A `describe` whose tests need a Java program. It is compiled first, and the JDK and the jars are fetched if they are not
 * here. Where they cannot be had the tests are skipped with the reason, and with `CI` set they fail.
 */
export function describeWithJava(title: string, java: JavaSource, body: (start: StartJava) => void): void {
  describeBuilt(
    title,
    'Java',
    (folder) => compile(java, folder),
    (compiled) => {
      const main = fileURLToPath(java.source).replace(/^.*[/\\]|\.java$/g, '')
      // A small JVM that starts quickly.
      const options = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', compiled.classPath, main]
      body((...args) => startLineProcess(compiled.java, [...options, ...args]))
    },
  )
}
