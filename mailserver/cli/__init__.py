"""The commands: what twist and twistd start (`command`, `launch`), and ``mailserver`` with its subcommands (`main`, `group`)."""
