/* A PAM module for tests: its arguments say what it does. PAM's headers need not be installed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pam_handle pam_handle_t;
struct message { int style; const char *text; };
struct reply { char *text; int unused; };
struct conversation { int (*converse)(int, const struct message **, struct reply **, void *); void *data; };

extern int pam_get_item(const pam_handle_t *, int, const void **);
extern int pam_set_item(pam_handle_t *, int, const void *);
extern int pam_fail_delay(pam_handle_t *, unsigned int);

enum { USER = 2, TTY = 3, RHOST = 4, CONV = 5 };

static const char *argument(int count, const char **given, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strncmp(given[i], name, strlen(name)))
            return given[i] + strlen(name);
    return NULL;
}

static const char *item(pam_handle_t *pam, int number)
{
    const void *found = NULL;
    pam_get_item(pam, number, &found);
    return found ? found : "";
}

/* With "strict": 9, unless it is told that who has no password may not log in (PAM_DISALLOW_NULL_AUTHTOK). */
static int lax(int flags, int count, const char **given)
{
    return argument(count, given, "strict") && !(flags & 1) ? 9 : 0;
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int count, const char **given)
{
    if (lax(flags, count, given))
        return 9;
    const char *only = argument(count, given, "only="), *result = argument(count, given, "result="), *text;
    if (only && strcmp(only, item(pam, USER)))
        return 0;
    const char *prompts = argument(count, given, "prompts="), *style = argument(count, given, "style=");
    const struct conversation *conversation = (const void *)item(pam, CONV);
    struct message message = {style ? atoi(style) : 1, "?"};
    const struct message *messages = &message;
    struct reply *reply = NULL;
    for (int i = prompts ? atoi(prompts) : 1; i > 0; i--) {
        int code = conversation->converse(1, &messages, &reply, conversation->data);
        if (code)
            return code;
    }
    if ((text = argument(count, given, "record="))) {
        FILE *file = fopen(text, "a");
        fprintf(file, "%d|%s|%s|%s|%s\n", (int)getpid(), item(pam, USER), reply && reply->text ? reply->text : "",
                item(pam, RHOST), item(pam, TTY));
        fclose(file);
    }
    if ((text = argument(count, given, "fork="))) {
        FILE *file = fopen(text, "a");
        int child = fork();
        if (!child)
            for (;;)
                pause();
        fprintf(file, "%d", child);
        fclose(file);
    }
    if ((text = argument(count, given, "wait="))) {
        char end;
        int fifo = open(text, O_RDONLY);
        while (read(fifo, &end, 1) > 0)
            ;
        close(fifo);
    }
    if (argument(count, given, "crash"))
        *(volatile int *)0 = 0;
    if ((text = argument(count, given, "name=")))
        pam_set_item(pam, USER, text);
    if ((text = argument(count, given, "delay=")))
        pam_fail_delay(pam, atoi(text));
    return result ? atoi(result) : 0;
}

int pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int count, const char **given)
{
    const char *result = argument(count, given, "account=");
    if (lax(flags, count, given))
        return 9;
    return result ? atoi(result) : 0;
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int count, const char **given)
{
    return 0;
}
